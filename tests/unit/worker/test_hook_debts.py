"""Debts of hooks as a worker pays them: each once, by one process."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from celery import Celery

from celery_legion import Legion
from celery_legion.errors import StoreUnavailableError
from celery_legion.hook import TASK as HOOKS
from celery_legion.run import State
from celery_legion.stores.base import Claim, Debt, Lapse
from celery_legion.stores.memory import MemoryStore
from celery_legion.testing.conformance_case import LONG, grant, minute
from celery_legion.worker.acts import Paid
from celery_legion.worker.current import CurrentRun
from celery_legion.worker.hooks import HookRunner
from tests.unit.worker.hooks import ENDINGS, JOB, LATER, Clock, job, owe, skip


def test_a_debt_is_paid_once(legion: Legion, runner: HookRunner, store: MemoryStore) -> None:
    called: list[str] = []
    legion.after(lambda: called.append("after"))
    debt = owe(store)

    assert [runner.pay(debt), runner.pay(debt)] == [True, False]
    assert called == ["after"]
    assert store.owed(10, timedelta(0)) == []


def test_a_debt_that_another_has_taken_is_left_to_it(legion: Legion, runner: HookRunner, store: MemoryStore) -> None:
    called: list[str] = []
    legion.after(lambda: called.append("after"))
    debt = owe(store)
    assert store.take(debt, "another", LONG) is not None

    assert runner.pay(debt) is False
    assert called == []


def test_a_debt_whose_taker_is_gone_is_paid(
    legion: Legion, runner: HookRunner, store: MemoryStore, clock: Clock
) -> None:
    called: list[str] = []
    legion.after(lambda: called.append("after"))
    debt = owe(store)
    store.take(debt, "another", timedelta(seconds=60))
    clock.moment += timedelta(seconds=61)

    assert runner.pay(debt) is True
    assert called == ["after"]


def test_nobody_else_takes_a_debt_while_its_hooks_are_called(
    legion: Legion, runner: HookRunner, store: MemoryStore
) -> None:
    taken: list[Debt | None] = []
    debt = owe(store)
    legion.after(lambda: taken.append(store.take(debt, "another", LONG)))
    runner.pay(debt)

    assert taken == [None]


def test_an_unknown_debt_is_not_paid(legion: Legion, runner: HookRunner) -> None:
    legion.after(lambda: pytest.fail("nothing is owed"))

    assert runner.pay("nothing:1") is False


def test_a_skip_has_a_name_and_says_how_many_it_were(legion: Legion, runner: HookRunner, store: MemoryStore) -> None:
    seen: list[CurrentRun] = []
    job(legion, on_skipped=seen.append)
    legion.after(lambda: pytest.fail("a skip is no run"))
    debt = skip(store, 3)

    assert debt.id
    assert runner.pay(debt.id) is True
    [run] = seen
    assert run.id == debt.id
    assert (run.state, run.reason, run.count) == (State.SKIPPED, "paused", 3)
    assert (run.fire_time, run.last_fire_time) == (minute(1), minute(3))
    assert (run.token, run.attempt) == (0, 0)


def test_two_skips_have_names_of_their_own(legion: Legion, runner: HookRunner, store: MemoryStore) -> None:
    first = skip(store, 1)
    store.hooked(first.id, None)
    lapse = Lapse(state=State.SKIPPED, reason="paused", first=minute(2), last=minute(2))
    grant(store, Claim(job=JOB, fire_time=minute(2), mark=minute(1), lapses=(lapse,), owes=ENDINGS))
    [second] = store.owed(10, timedelta(0))

    assert first.id != second.id


def test_a_debt_of_a_job_that_this_worker_does_not_know_is_left_to_another(
    legion: Legion, app: Celery, runner: HookRunner, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[str] = []
    legion.after(lambda run: called.append(run.job))
    app.conf.beat_schedule = {}
    debt = owe(store)

    assert runner.pay(debt) is False
    assert called == []
    assert "this worker knows no such job" in caplog.text
    assert debt in store.debts


def test_a_store_that_falls_silent_after_the_hooks_is_only_logged(
    legion: Legion,
    runner: HookRunner,
    store: MemoryStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def silent(debt: str, error: str | None) -> bool:
        raise StoreUnavailableError("memory://", "timed out")

    legion.after(lambda: None)
    debt = owe(store)
    monkeypatch.setattr(store, "hooked", silent)
    with caplog.at_level(logging.WARNING):
        assert runner.pay(debt) is True

    assert "is told later" in caplog.text
    assert LATER.pop() == Paid(debt, None)


def test_a_silent_store_is_not_swallowed_before_the_hooks(
    legion: Legion, runner: HookRunner, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(debt: str, asker: str, lease: timedelta) -> Debt | None:
        raise StoreUnavailableError("memory://", "timed out")

    monkeypatch.setattr(store, "take", silent)
    with pytest.raises(StoreUnavailableError):
        runner.pay("job-1:1")


def test_the_task_of_a_debt_pays_it(legion: Legion, app: Celery, store: MemoryStore) -> None:
    called: list[str] = []
    legion.after(lambda: called.append("after"))
    debt = owe(store)

    assert app.tasks[HOOKS](debt) is True
    assert app.tasks[HOOKS](debt) is False
    assert called == ["after"]
