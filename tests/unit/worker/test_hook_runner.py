"""Hooks as a worker calls them: with the run, one after the other."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery, shared_task

from celery_legion import Legion
from celery_legion.errors import InvalidJobError
from celery_legion.hook import hook_name
from celery_legion.run import State
from celery_legion.stores.base import Outcome
from celery_legion.stores.memory import MemoryStore
from celery_legion.testing.conformance_case import LONG, minute
from celery_legion.worker.current import CurrentRun, current_run
from celery_legion.worker.hooks import HookRunner
from tests.unit.worker.hooks import JOB, Clock, a_run, hook_error, job, owe


async def no_hook(run: CurrentRun) -> None: ...


class WithArgument:
    def __init__(self, called: list[object]) -> None:
        self.called = called

    def __call__(self, run: object) -> None:
        self.called.append(run)

    def method(self, run: object) -> None:
        self.called.append(run)

    def bare(self) -> None:
        self.called.append(None)


def test_a_hook_takes_the_run_or_nothing(legion: Legion, runner: HookRunner, store: MemoryStore) -> None:
    called: list[object] = []
    job(legion)
    for hook in (
        lambda run: called.append(run),
        lambda: called.append(None),
        lambda *args: called.extend(args),
        lambda run, more=1: called.append(run),
        lambda *, key=1: called.append(None),
        WithArgument(called),
        WithArgument(called).method,
        WithArgument(called).bare,
        functools.partial(lambda word, run: called.append(run), "word"),
        functools.partial(lambda word: called.append(None), "word"),
        called.append,
    ):
        legion.after(hook)

    assert runner.pay(owe(store)) is True
    taken = [isinstance(one, CurrentRun) for one in called]
    assert taken == [True, False, True, True, False, True, True, False, True, False, True]
    assert hook_error(store) is None


def test_a_celery_task_is_a_hook(legion: Legion, runner: HookRunner, app: Celery, store: MemoryStore) -> None:
    called: list[object] = []

    @app.task(name="with-argument")
    def with_argument(run: Any) -> None:
        called.append((run.state, current_run() is run))

    @app.task(name="bound", bind=True)
    def bound(self: Any, run: Any) -> None:
        called.append((self.name, run.id))

    @app.task(name="bare", bind=True)
    def bare(self: Any) -> None:
        called.append(self.name)

    @shared_task(name="hook-of-all-apps")
    def shared() -> None:
        called.append("shared")

    for hook in (with_argument, bound, bare, shared):
        legion.after(hook)
    runner.pay(owe(store))

    assert called == [(State.SUCCEEDED, True), ("bound", "job-1"), "bare", "shared"]
    assert hook_error(store) is None


class Notifier:
    """Can be called with the run, and has a method that is named like that of a task."""

    def __init__(self) -> None:
        self.called: list[object] = []

    def __call__(self, run: object) -> None:
        self.called.append(run)

    def run(self) -> None:
        """Something else."""


def test_an_object_with_a_run_of_its_own_is_called_as_it_says(
    legion: Legion, runner: HookRunner, store: MemoryStore
) -> None:
    notifier = Notifier()
    legion.after(notifier)
    runner.pay(owe(store))

    assert hook_error(store) is None
    assert len(notifier.called) == 1


def test_a_job_s_own_hooks_are_called_before_the_schedule_s(
    legion: Legion, runner: HookRunner, store: MemoryStore
) -> None:
    called: list[str] = []
    legion.after(lambda: called.append("every after"))
    legion.on_success(lambda: called.append("every success"))
    job(legion, after=lambda: called.append("own after"), on_success=lambda: called.append("own success"))
    runner.pay(owe(store))

    assert called == ["own success", "every success", "own after", "every after"]


@pytest.mark.parametrize(
    ("state", "expected"),
    [(State.SUCCEEDED, ["success", "after"]), (State.FAILED, ["failure", "after"])],
)
def test_an_ending_calls_only_what_waits_for_it(
    legion: Legion, runner: HookRunner, store: MemoryStore, state: State, expected: list[str]
) -> None:
    called: list[str] = []
    for name in ("before", "on_success", "on_failure", "after", "on_skipped", "on_missed"):
        getattr(legion, name)(functools.partial(called.append, name.removeprefix("on_")))
    runner.pay(owe(store, Outcome(state=state)))

    assert called == expected


def test_a_hook_that_fails_is_recorded_and_the_others_are_called(
    legion: Legion, runner: HookRunner, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[str] = []

    def broken() -> None:
        raise ValueError("no mail server")

    def worse(run: object) -> None:
        raise KeyError("x")

    for hook in (broken, lambda: called.append("between"), worse, lambda: called.append("last")):
        legion.after(hook)

    assert runner.pay(owe(store)) is True
    assert called == ["between", "last"]
    assert hook_error(store) == (f"{hook_name(broken)}: ValueError: no mail server; {hook_name(worse)}: KeyError: 'x'")
    assert "no mail server" in caplog.text
    record = store.get("job-1")
    assert record is not None
    assert record.state is State.SUCCEEDED


def test_a_type_error_within_a_hook_is_its_own(legion: Legion, runner: HookRunner, store: MemoryStore) -> None:
    calls: list[object] = []

    def broken(run: object) -> None:
        calls.append(run)
        raise TypeError("takes 0 positional arguments")

    legion.after(broken)
    runner.pay(owe(store))

    assert len(calls) == 1
    assert "takes 0 positional arguments" in (hook_error(store) or "")


@pytest.mark.parametrize("hook", [lambda run, other: None, 5, no_hook])
def test_a_hook_that_cannot_be_called_with_the_run_is_refused(legion: Legion, hook: Any) -> None:
    with pytest.raises(InvalidJobError, match="with the run alone"):
        legion.after(hook)


@pytest.mark.parametrize("code", [1, 0, None, "no", True])
def test_a_hook_that_exits_has_failed(legion: Legion, runner: HookRunner, store: MemoryStore, code: object) -> None:
    called: list[str] = []

    def leave() -> None:
        raise SystemExit(code)

    legion.after(leave)
    legion.after(lambda: called.append("after it"))

    assert runner.pay(owe(store)) is True
    assert called == ["after it"]
    assert "SystemExit" in (hook_error(store) or "")


def test_the_pool_s_own_exit_passes_through_and_the_debt_stays(
    legion: Legion, runner: HookRunner, store: MemoryStore, clock: Clock
) -> None:
    called: list[str] = []

    def ended() -> None:
        called.append("first")
        if len(called) == 1:
            raise SystemExit(-241)

    legion.after(ended)
    debt = owe(store)
    with pytest.raises(SystemExit) as caught:
        runner.pay(debt)

    assert caught.value.code == -241
    assert current_run() is None
    assert hook_error(store) is None
    assert runner.pay(debt) is False
    clock.moment += timedelta(minutes=2)
    assert [one.id for one in store.owed(10, LONG)] == [debt]
    assert runner.pay(debt) is True
    assert called == ["first", "first"]


def test_inside_of_a_hook_the_ending_is_the_current_run(legion: Legion, runner: HookRunner, store: MemoryStore) -> None:
    seen: list[CurrentRun | None] = []
    legion.after(lambda: seen.append(current_run()))
    legion.after(seen.append)
    outcome = Outcome(state=State.FAILED, reason="time_limit", error="Boom", exit_code=3, output="the tail")
    runner.pay(owe(store, outcome))

    first, second = seen
    assert first is second
    assert first is not None
    assert (first.id, first.job, first.fire_time, first.attempt) == ("job-1", JOB, minute(1), 1)
    assert (first.state, first.reason, first.error, first.exit_code) == (State.FAILED, "time_limit", "Boom", 3)
    assert first.output == "the tail"
    assert first.count == 1
    assert current_run() is None


def test_before_a_run_it_is_the_current_one_and_the_failure_is_returned(legion: Legion, runner: HookRunner) -> None:
    seen: list[object] = []
    legion.before(lambda: seen.append(current_run()))
    legion.before(lambda: 1 / 0)
    legion.before(seen.append)
    run = a_run()

    assert "ZeroDivisionError" in (runner.before(run) or "")
    assert seen == [run, run]
    assert current_run() is None


def test_before_a_run_that_fails_at_nothing_none_is_returned(legion: Legion, runner: HookRunner) -> None:
    legion.before(lambda: "what a hook returns is not looked at")

    assert runner.before(a_run()) is None
