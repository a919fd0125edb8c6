"""What a leader makes of the inbox, and what it leaves in it."""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from celery.beat import BeatLazyFunc

from celery_legion.command_builder import CommandBuilder, CommandTarget
from celery_legion.engine import Engine
from celery_legion.errors import StoreUnavailableError
from celery_legion.run import Kind, Record, State
from celery_legion.stores.base import Outcome, Pause, Request
from celery_legion.stores.memory import MemoryStore
from tests.unit.engine.bench import START, Broker, FakeClock, history

ENTRIES = {
    "j": {"task": "t", "schedule": 3600, "args": (1, 2), "kwargs": {"a": 1, "b": 2}},
    "other": {"task": "u", "schedule": 3600, "options": {"queue": "slow"}},
}


def put(store: MemoryStore, name: str, **data: Any) -> None:
    store.push(Request(id=name, body=json.dumps(data)))


def record(store: MemoryStore, name: str) -> Record:
    found = store.get(name)
    assert found is not None
    return found


def asides(store: MemoryStore) -> dict[str, str]:
    return {aside.request.id: aside.why for aside in store.asides(100)}


@pytest.fixture
def leader(make: Callable[..., Engine]) -> Engine:
    made = make(**ENTRIES)
    made.tick()
    assert made.epoch == 1
    return made


class TestTaking:
    """What becomes a run."""

    def test_a_push_is_sent_in_the_next_pass_under_its_own_id_and_is_taken_out(
        self, leader: Engine, clock: FakeClock, broker: Broker, store: MemoryStore
    ) -> None:
        clock.advance(timedelta(microseconds=1234567))
        put(store, "p-1", job="j")
        leader.tick()

        [sent] = broker.sent
        assert (sent.run_id, sent.job, sent.message.task) == ("p-1", "j", "t")
        found = record(store, "p-1")
        assert (found.kind, found.state) == (Kind.PUSHED, State.SENT)
        assert found.fire_time == START + timedelta(milliseconds=1234)
        assert sent.header is not None
        assert (sent.header.kind, sent.header.fire_time, sent.header.job) == (Kind.PUSHED, found.fire_time, "j")
        assert store.requests(10) == [] == store.asides(10)

    @pytest.mark.parametrize(
        ("given", "args", "kwargs"),
        [
            ({}, (1, 2), {"a": 1, "b": 2}),
            ({"args": []}, (), {"a": 1, "b": 2}),
            ({"args": [7]}, (7,), {"a": 1, "b": 2}),
            ({"kwargs": {"b": 3, "c": [4]}}, (1, 2), {"a": 1, "b": 3, "c": [4]}),
            ({"args": ["x", None], "kwargs": {"a": {}}}, ("x", None), {"a": {}, "b": 2}),
            ({"args": None, "kwargs": None}, (1, 2), {"a": 1, "b": 2}),
        ],
    )
    def test_its_arguments_are_laid_over_the_jobs_own(
        self,
        leader: Engine,
        broker: Broker,
        store: MemoryStore,
        given: dict[str, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        put(store, "p-1", job="j", **given)
        leader.tick()

        [sent] = broker.sent
        assert (sent.message.args, dict(sent.message.kwargs)) == (args, kwargs)

    def test_the_job_keeps_its_own_arguments_for_its_next_fire(
        self, leader: Engine, clock: FakeClock, broker: Broker, store: MemoryStore
    ) -> None:
        put(store, "p-1", job="j", args=["pushed"], kwargs={"a": "pushed"})
        leader.tick()
        assert store.end("p-1", 0, Outcome(state=State.SUCCEEDED), store.retention)
        clock.advance(timedelta(hours=1))
        leader.tick()

        sent = next(one for one in broker.sent if one.job == "j" and one.run_id != "p-1")
        assert (sent.message.args, dict(sent.message.kwargs)) == ((1, 2), {"a": 1, "b": 2})

    def test_it_goes_where_the_jobs_own_runs_go(self, leader: Engine, broker: Broker, store: MemoryStore) -> None:
        put(store, "p-1", job="other")
        leader.tick()
        assert broker.sent[0].options()["queue"] == "slow"

    def test_what_the_broker_did_not_take_is_sent_again_with_the_same_arguments(
        self, leader: Engine, clock: FakeClock, broker: Broker, store: MemoryStore
    ) -> None:
        broker.down = True
        put(store, "p-1", job="j", args=["pushed"])
        leader.tick()
        assert record(store, "p-1").state is State.CLAIMED
        assert store.requests(10) == []

        broker.down = False
        clock.advance(timedelta(seconds=6))
        leader.tick()
        [sent] = broker.sent
        assert (sent.run_id, tuple(sent.message.args)) == ("p-1", ("pushed",))
        assert record(store, "p-1").kind is Kind.PUSHED

    def test_neither_clock_nor_mark_nor_pause_has_a_say(
        self, leader: Engine, clock: FakeClock, broker: Broker, store: MemoryStore
    ) -> None:
        before = store.states(["j"])["j"]
        store.pause(Pause(name="*", since=clock.now()))
        put(store, "p-1", job="j")
        leader.tick()

        assert broker.ids == ["p-1"]
        after = store.states(["j"])["j"]
        assert (after.mark, after.anchor) == (before.mark, before.anchor)

    def test_the_lock_has(self, leader: Engine, broker: Broker, store: MemoryStore) -> None:
        for name in ("p-1", "p-2"):
            put(store, name, job="j")
        leader.tick()

        assert broker.ids == ["p-1"]
        [skip] = [one for one in store.runs("j", 10) if one.id is None]
        assert (skip.state, skip.reason, skip.kind) == (State.SKIPPED, "overlap", Kind.PUSHED)
        assert store.requests(10) == []

    def test_a_hundred_are_taken_in_one_pass_and_the_others_in_the_next(
        self, make: Callable[..., Engine], broker: Broker, store: MemoryStore
    ) -> None:
        leader = make(**{f"j{number}": {"task": "t", "schedule": 3600} for number in range(150)})
        leader.tick()
        for number in range(150):
            put(store, f"p-{number}", job=f"j{number}")
        leader.tick()
        assert broker.ids == [f"p-{number}" for number in range(100)]
        leader.tick()
        assert broker.ids == [f"p-{number}" for number in range(150)]

    def test_a_standby_takes_nothing(
        self, leader: Engine, make: Callable[..., Engine], broker: Broker, store: MemoryStore
    ) -> None:
        put(store, "p-1", job="j")
        make(**ENTRIES).tick()
        assert broker.sent == []
        assert [request.id for request in store.requests(10)] == ["p-1"]


class TestOnce:
    """However often it lies there, it is one run."""

    def test_the_same_id_twice_is_one_run(self, leader: Engine, broker: Broker, store: MemoryStore) -> None:
        put(store, "p-1", job="j")
        leader.tick()
        put(store, "p-1", job="j", args=["again"])
        leader.tick()

        assert broker.ids == ["p-1"]
        assert history(store) == [("sent", None, 1)]
        assert store.requests(10) == []

    def test_also_after_its_end(self, leader: Engine, broker: Broker, store: MemoryStore) -> None:
        put(store, "p-1", job="j")
        leader.tick()
        assert store.end("p-1", 0, Outcome(state=State.SUCCEEDED), store.retention)
        put(store, "p-1", job="j")
        leader.tick()

        assert broker.ids == ["p-1"]
        assert history(store) == [("succeeded", None, 1)]

    def test_also_when_it_lies_there_twice_at_once(
        self, leader: Engine, broker: Broker, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        body = json.dumps({"job": "j"})
        pulse = store.pulse
        twice = (Request(id="p-1", body=body), Request(id="p-1", body=body))

        monkeypatch.setattr(store, "pulse", lambda *args: replace(pulse(*args), requests=twice))
        leader.tick()

        assert broker.ids == ["p-1"]
        assert history(store) == [("sent", None, 1)]

    def test_of_two_that_differ_the_first_counts(
        self, leader: Engine, broker: Broker, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bodies = ['{"job": "j", "args": ["first"]}', '{"job": "j", "args": ["second"]}', "{malformed"]
        pulse = store.pulse
        requests = tuple(Request(id="p-1", body=body) for body in bodies)
        monkeypatch.setattr(store, "pulse", lambda *args: replace(pulse(*args), requests=requests))
        leader.tick()

        assert [(sent.run_id, sent.message.args) for sent in broker.sent] == [("p-1", ("first",))]

    def test_a_leader_that_could_not_acknowledge_sends_it_no_second_time(
        self, leader: Engine, broker: Broker, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def silent(ids: Any) -> None:
            raise StoreUnavailableError("redis://x", "timed out")

        put(store, "p-1", job="j")
        with monkeypatch.context() as patch:
            patch.setattr(store, "ack", silent)
            leader.tick()
        assert broker.ids == ["p-1"]
        assert len(store.requests(10)) == 1

        leader.tick()
        assert broker.ids == ["p-1"]
        assert store.requests(10) == []


class TestPuttingAside:
    """What cannot be handled is in nobody's way."""

    def test_it_is_put_aside_with_the_reason_and_the_others_are_sent(
        self, leader: Engine, broker: Broker, store: MemoryStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        store.push(Request(id="b-1", body="{not JSON"))
        put(store, "p-1", job="j")
        put(store, "b-2", job="jj")
        put(store, "b-3", job="j", countdown=5)
        put(store, "b-4", job="j", args="x")
        put(store, "p-2", job="other")
        put(store, "b-5", args=[1])
        with caplog.at_level(logging.ERROR):
            leader.tick()

        assert broker.ids == ["p-1", "p-2"]
        assert store.requests(10) == []
        found = asides(store)
        assert list(found) == ["b-5", "b-4", "b-3", "b-2", "b-1"]
        assert found["b-1"].startswith("it is no JSON")
        assert found["b-2"].startswith("no job is named 'jj'")
        assert "'countdown' is no part of a push" in found["b-3"]
        assert found["b-4"] == '"args" is no list'
        assert found["b-5"] == 'it is no JSON object with a "job"'
        for name, why in found.items():
            assert f"push {name} is put aside: {why}" in caplog.text

    def test_what_a_command_is_given_is_put_aside(
        self, make: Callable[..., Engine], broker: Broker, store: MemoryStore
    ) -> None:
        leader = make(**ENTRIES)
        leader.context.registry.add(CommandBuilder(CommandTarget("true", "here:1")).hourly().name("c"))
        leader.tick()
        put(store, "b-1", job="c", args=["x"])
        put(store, "p-1", job="c")
        leader.tick()

        assert broker.ids == ["p-1"]
        assert asides(store) == {"b-1": "job 'c' is a command, and takes no arguments"}

    @pytest.mark.parametrize("depth", [100, 600, 800, 900, 950, 980, 990, 995])
    def test_arguments_of_any_depth_hold_up_neither_the_others_nor_the_schedule(
        self, leader: Engine, broker: Broker, store: MemoryStore, depth: int
    ) -> None:
        store.push(Request(id="deep", body='{"job": "other", "args": ' + "[" * depth + "]" * depth + "}"))
        put(store, "p-1", job="j")
        leader.tick()

        assert "p-1" in broker.ids
        assert store.requests(10) == []
        assert ("deep" in asides(store)) != (store.get("deep") is not None)
        assert leader.epoch == 1

    def test_what_is_wrong_a_hundred_times_costs_no_pass(
        self, make: Callable[..., Engine], store: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        compared = 0

        class Counting(difflib.SequenceMatcher[str]):
            def set_seq1(self, a: Any) -> None:
                nonlocal compared
                compared += 1
                super().set_seq1(a)

        leader = make(**{f"shop.tasks.job_{number}": {"task": "t", "schedule": 3600} for number in range(1000)})
        leader.tick()
        for number in range(100):
            put(store, f"b-{number}", job=f"shop.task.job_{number}")
        monkeypatch.setattr(difflib, "SequenceMatcher", Counting)
        leader.tick()

        assert len(asides(store)) == 100
        # Each comparison with a name takes some 30 µs, and all jobs wait meanwhile.
        assert compared <= 10_000

    def test_a_lazy_argument_that_fails_is_no_fault_of_the_push(
        self, make: Callable[..., Engine], broker: Broker, store: MemoryStore
    ) -> None:
        def broken() -> None:
            raise ZeroDivisionError

        leader = make(j={"task": "t", "schedule": 3600, "kwargs": {"a": BeatLazyFunc(broken)}})
        leader.tick()
        put(store, "p-1", job="j")
        leader.tick()
        assert (broker.sent, asides(store), store.requests(10)) == ([], {}, [])
        assert (record(store, "p-1").state, record(store, "p-1").reason) == (State.FAILED, "unsendable")

        # Given by the push, it is not asked at all.
        put(store, "p-2", job="j", kwargs={"a": 1})
        leader.tick()
        assert broker.ids == ["p-2"]


class TestDeposed:
    """A leader that leads no more leaves the inbox to the next one."""

    def test_it_claims_and_acknowledges_nothing(
        self,
        leader: Engine,
        make: Callable[..., Engine],
        clock: FakeClock,
        broker: Broker,
        store: MemoryStore,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        put(store, "p-1", job="j")
        store.push(Request(id="b-1", body="{"))
        heir = make(**ENTRIES)
        claim = store.claim

        def paused_claim(*args: Any) -> Any:
            # It stops between its pulse and its claim, for longer than its lease.
            monkeypatch.setattr(store, "claim", claim)
            clock.advance(timedelta(seconds=11))
            owner, info = "somebody else", heir._dispatcher.introduce()
            assert store.pulse(owner, timedelta(seconds=10), 0, 0, info).epoch == 2
            return claim(*args)

        monkeypatch.setattr(store, "claim", paused_claim)
        leader.tick()

        assert (leader.epoch, broker.sent) == (None, [])
        assert [request.id for request in store.requests(10)] == ["p-1", "b-1"]
        assert store.asides(10) == []

        clock.advance(timedelta(seconds=11))
        heir.tick()
        # What was in the inbox when it took the lead comes with that very pulse.
        assert broker.ids == ["p-1"]
        assert list(asides(store)) == ["b-1"]

    def test_a_silent_store_leaves_everything_in_the_inbox(
        self, leader: Engine, broker: Broker, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def silent(*args: Any) -> Any:
            raise StoreUnavailableError("redis://x", "timed out")

        put(store, "p-1", job="j")
        store.push(Request(id="b-1", body="{"))
        with monkeypatch.context() as patch:
            patch.setattr(store, "claim", silent)
            leader.tick()
        assert broker.sent == []
        assert [request.id for request in store.requests(10)] == ["p-1", "b-1"]

        leader.tick()
        assert broker.ids == ["p-1"]


def test_where_no_worker_reports_a_push_is_sent_and_closed(
    make: Callable[..., Engine], broker: Broker, store: MemoryStore
) -> None:
    leader = make(guarded=False, **ENTRIES)
    leader.tick()
    put(store, "p-1", job="j")
    put(store, "p-2", job="j")
    leader.tick()

    assert broker.ids == ["p-1", "p-2"]
    assert {sent.header for sent in broker.sent} == {None}
    assert record(store, "p-1").reason == "unwatched"
