"""Pushing: what is put into the inbox, and what is said to have become of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from celery_legion import Legion
from celery_legion import pushing as module
from celery_legion.context import Context
from celery_legion.errors import StoreUnavailableError, UnknownJobError
from celery_legion.push import PushError, read_push
from celery_legion.pushing import Pushed, await_push, push
from celery_legion.run import Kind, State
from celery_legion.stores.base import Outcome, Request, Retention
from celery_legion.stores.memory import MemoryStore
from celery_legion.testing.conformance_case import dispatch, fire, grant, know, pushed

AT_ONCE = timedelta(0)
A_WHILE = timedelta(seconds=30)


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore(now=lambda: datetime(2030, 1, 1, tzinfo=UTC))
    know(made, "job", "other")
    return made


@pytest.fixture
def context(store: MemoryStore) -> Context:
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.legion_store_url = "memory://pushing"
    legion = Legion(app)
    for name in ("job", "other"):
        legion.task("t", args=[1], kwargs={"a": 1}).hourly().name(name)
    legion.command("true").hourly().name("command")
    legion.context.use_store(store)
    return legion.context


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let something happen in each pause between two looks; time passes by them alone."""

    def happen(*acts: Callable[[], object]) -> None:
        left, now = list(acts), [0.0]

        class Time:
            @staticmethod
            def monotonic() -> float:
                return now[0]

            @staticmethod
            def sleep(seconds: float) -> None:
                now[0] += seconds
                if left:
                    left.pop(0)()

        monkeypatch.setattr(module, "time", Time)

    return happen


class TestPush:
    """What lies in the inbox afterwards."""

    def test_it_lies_in_the_inbox_under_the_id_that_is_returned(self, context: Context, store: MemoryStore) -> None:
        run_id = push(context, "job", [1, "x"], {"b": [2]})
        [request] = store.requests(10)
        assert request.id == run_id
        assert json.loads(request.body) == {"job": "job", "args": [1, "x"], "kwargs": {"b": [2]}}

    def test_without_arguments_the_jobs_own_stay(self, context: Context, store: MemoryStore) -> None:
        push(context, "job")
        push(context, "other", [])
        assert [read_push(request.body).args for request in store.requests(10)] == [None, ()]

    def test_the_scheduler_is_woken(self, context: Context, store: MemoryStore) -> None:
        store.wait(timedelta(0))
        push(context, "job")
        assert store.wait(timedelta(0))

    def test_each_push_is_a_run_of_its_own(self, context: Context) -> None:
        assert len({push(context, "job") for _ in range(20)}) == 20

    def test_what_cannot_be_is_refused_and_nothing_lies_in_the_inbox(
        self, context: Context, store: MemoryStore
    ) -> None:
        with pytest.raises(UnknownJobError, match="did you mean 'other'"):
            push(context, "othr")
        for args, kwargs in (([object()], {}), ([float("nan")], {}), (None, {"a": b"x"}), (["x" * 300_000], {})):
            with pytest.raises(PushError):
                push(context, "job", args, kwargs)
        for args, kwargs in (([], {}), (None, {"a": 1})):
            with pytest.raises(PushError, match="is a command"):
                push(context, "command", args, kwargs)
        assert store.requests(10) == []
        push(context, "command")
        assert len(store.requests(10)) == 1

    def test_a_silent_store_is_said(
        self, context: Context, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def silent(request: Any) -> None:
            raise StoreUnavailableError("redis://x", "timed out")

        monkeypatch.setattr(store, "push", silent)
        with pytest.raises(StoreUnavailableError):
            push(context, "job")


class TestAwait:
    """What is said to have become of it."""

    def test_without_a_scheduler_it_waits_as_long_as_it_is_told(
        self, context: Context, meanwhile: Callable[..., None]
    ) -> None:
        looks: list[int] = []
        meanwhile(*[lambda: looks.append(1)] * 1000)
        run_id = push(context, "job")
        assert await_push(context, run_id, "job", timedelta(seconds=1)) == Pushed(id=run_id)
        assert 4 <= len(looks) <= 100
        assert await_push(context, run_id, "job", AT_ONCE) == Pushed(id=run_id)

    def test_its_run_is_returned_as_soon_as_it_is_claimed(
        self, context: Context, store: MemoryStore, meanwhile: Callable[..., None]
    ) -> None:
        run_id = push(context, "job")
        meanwhile(lambda: None, lambda: dispatch(store, pushed(run_id)))
        found = await_push(context, run_id, "job", A_WHILE)
        assert (found.id, found.aside) == (run_id, None)
        assert found.record is not None
        assert (found.record.id, found.record.state) == (run_id, State.SENT)

    def test_while_it_is_only_claimed_it_is_waited_for(
        self, context: Context, store: MemoryStore, meanwhile: Callable[..., None]
    ) -> None:
        run_id = push(context, "job")
        failed = Outcome(state=State.FAILED, reason="unsendable", error="TypeError: no such argument")
        meanwhile(
            lambda: store.claim([pushed(run_id)], "beat-1", None, timedelta(seconds=10)),
            lambda: None,
            lambda: store.end(run_id, 0, failed, Retention()),
        )
        found = await_push(context, run_id, "job", A_WHILE)
        assert found.record is not None
        assert (found.record.state, found.record.error) == (State.FAILED, "TypeError: no such argument")

    def test_a_run_that_is_over_already_is_returned(self, context: Context, store: MemoryStore) -> None:
        run_id = push(context, "job")
        dispatch(store, pushed(run_id))
        store.ack([run_id])
        assert store.end(run_id, 0, Outcome(state=State.INTERRUPTED), store.retention)
        found = await_push(context, run_id, "job", AT_ONCE)
        assert found.record is not None and found.record.state is State.INTERRUPTED

    def test_one_that_was_put_aside_is_returned_with_the_reason(
        self, context: Context, store: MemoryStore, meanwhile: Callable[..., None]
    ) -> None:
        run_id = push(context, "job")
        meanwhile(lambda: store.put_aside(run_id, "no job is named 'job'"))
        found = await_push(context, run_id, "job", A_WHILE)
        assert found.record is None
        assert found.aside is not None and found.aside.why == "no job is named 'job'"

    def test_one_that_was_put_aside_is_no_earlier_skip(self, context: Context, store: MemoryStore) -> None:
        dispatch(store, fire(1))
        grant(store, pushed("earlier"))
        run_id = push(context, "job")
        store.put_aside(run_id, "it is so")
        found = await_push(context, run_id, "job", AT_ONCE)
        assert (found.record, found.aside is not None) == (None, True)

    def test_one_whose_lock_is_held_is_returned_as_the_skip_it_came_to(
        self, context: Context, store: MemoryStore, meanwhile: Callable[..., None]
    ) -> None:
        dispatch(store, fire(1))
        run_id = push(context, "job")

        def skip() -> None:
            grant(store, pushed(run_id))
            store.ack([run_id])

        meanwhile(skip)
        found = await_push(context, run_id, "job", A_WHILE)
        assert found.record is not None
        assert (found.record.id, found.record.state, found.record.kind) == (None, State.SKIPPED, Kind.PUSHED)

    def test_a_run_that_is_claimed_between_two_looks_is_no_skip(
        self, context: Context, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dispatch(store, fire(1))
        grant(store, pushed("earlier"))
        store.release("job")
        run_id = push(context, "job")
        requests = store.requests

        def claimed_meanwhile(limit: int) -> list[Request]:
            dispatch(store, pushed(run_id))
            store.ack([run_id])
            return requests(limit)

        monkeypatch.setattr(store, "requests", claimed_meanwhile)
        found = await_push(context, run_id, "job", A_WHILE)
        assert found.record is not None and found.record.id == run_id

    def test_others_in_the_inbox_are_not_mistaken_for_it(
        self, context: Context, store: MemoryStore, meanwhile: Callable[..., None]
    ) -> None:
        others = [push(context, "other") for _ in range(20)]
        run_id = push(context, "job")
        meanwhile(lambda: store.ack(others), lambda: dispatch(store, pushed(run_id)))
        found = await_push(context, run_id, "job", A_WHILE)
        assert found.record is not None and found.record.id == run_id

    def test_behind_a_long_inbox_it_still_waits_there(self, context: Context, store: MemoryStore) -> None:
        # An earlier push of the job was skipped; what became of this one nobody knows yet.
        dispatch(store, fire(1))
        grant(store, pushed("earlier"))
        for number in range(module.LOOKED_AT + 5):
            store.push(Request(id=f"p-{number}", body='{"job": "other"}'))
        run_id = push(context, "job")
        assert await_push(context, run_id, "job", AT_ONCE) == Pushed(id=run_id)
