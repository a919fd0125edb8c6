"""From claimed to sent, whatever the broker does; and pushes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from celery_legion.engine import Engine
from celery_legion.engine.dispatch import NotSentError
from celery_legion.errors import BrokerUnavailableError, StoreUnavailableError
from celery_legion.run import Kind, State
from celery_legion.stores.base import Granted, Outcome, Request
from celery_legion.stores.memory import MemoryStore
from tests.unit.engine.bench import MINUTE, Broker, FakeClock, history


def test_what_the_broker_did_not_take_is_sent_once_it_is_back_under_the_same_id(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make()
    engine.tick()
    broker.down = True
    clock.advance(MINUTE)
    engine.tick()
    [record] = store.runs("j", 5)
    assert record.state is State.CLAIMED

    clock.advance(timedelta(seconds=2))
    engine.tick()
    broker.down = False
    clock.advance(timedelta(seconds=2))
    engine.tick()

    assert broker.ids == [record.id]
    assert history(store) == [("sent", None, 1)]


def test_a_run_that_waited_too_long_for_the_broker_is_missed(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make(j={"task": "t", "schedule": 7 * 24 * 3600})
    engine.tick()
    broker.down = True
    clock.advance(timedelta(days=7))
    engine.tick()
    broker.down = False
    clock.advance(timedelta(days=1, seconds=1))
    engine.tick()

    assert broker.sent == []
    assert history(store) == [("missed", "broker", 1)]


def test_a_message_that_cannot_be_made_fails_its_run_and_hurts_no_other(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make(bad={"task": "t", "schedule": 60}, good={"task": "t", "schedule": 60})
    engine.tick()
    broker.errors = {"bad": TypeError("no JSON")}
    clock.advance(MINUTE)
    engine.tick()

    assert [dispatch.job for dispatch in broker.sent] == ["good"]
    assert history(store, "bad") == [("failed", "unsendable", 1)]


def test_a_lost_confirmation_is_made_up_for_without_sending_again(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make()
    engine.tick()
    sent = store.sent

    def silent(ids: Any) -> None:
        raise StoreUnavailableError("redis://x", "timed out")

    store.sent = silent  # type: ignore[method-assign]
    clock.advance(MINUTE)
    engine.tick()
    store.sent = sent  # type: ignore[method-assign]
    clock.advance(timedelta(seconds=6))
    engine.tick()

    assert len(broker.sent) == 1
    assert history(store) == [("sent", None, 1)]


def test_a_push_runs_once_however_often_it_is_repeated_and_moves_no_mark(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make()
    engine.tick()
    for _ in range(3):
        store.push(Request(id="p1", body='{"job": "j"}'))
    engine.tick()
    engine.tick()

    assert broker.ids == ["p1"]
    assert broker.sent[0].header is not None
    assert broker.sent[0].header.kind is Kind.PUSHED
    clock.advance(MINUTE)
    store.end("p1", 0, Outcome(state=State.SUCCEEDED), store.retention)
    engine.tick()
    assert len(broker.sent) == 2


@pytest.mark.parametrize("body", ["", "[]", "nonsense", '{"job": 5}', '{"job": "nobody"}', "[" * 5000])
def test_a_push_that_makes_no_sense_is_logged_and_stops_nothing(
    make: Callable[..., Engine], broker: Broker, store: MemoryStore, caplog: pytest.LogCaptureFixture, body: str
) -> None:
    engine = make()
    engine.tick()
    store.push(Request(id="x", body=body))
    store.push(Request(id="p1", body='{"job": "j"}'))
    engine.tick()

    assert broker.ids == ["p1"]
    assert "put aside" in caplog.text


def test_without_workers_that_report_runs_are_not_watched_and_may_overlap(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make(guarded=False)
    engine.tick()
    for _ in range(2):
        clock.advance(MINUTE)
        engine.tick()

    assert len(broker.sent) == 2
    assert [dispatch.header for dispatch in broker.sent] == [None, None]
    assert history(store) == [("sent", "unwatched", 1)] * 2
    assert store.locks() == []


def test_a_burst_is_claimed_in_parts_and_the_lead_renewed_between_them(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make(**{f"j{n}": {"task": "t", "schedule": 60} for n in range(2500)})
    engine.tick()
    clock.advance(MINUTE)
    verdicts: list[int] = []
    claim = store.claim

    def counting(claims: Any, *args: Any) -> Any:
        made = claim(claims, *args)
        verdicts.append(sum(verdict.granted is Granted.RUN for verdict in made))
        return made

    store.claim = counting  # type: ignore[method-assign]
    assert engine.tick() == 0.0
    assert len(broker.sent) == 2000
    engine.tick()

    assert len(broker.sent) == 2500
    assert max(verdicts) == 200


def test_a_run_whose_task_sends_nothing_is_a_skip_and_frees_its_lock_at_once(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make()
    engine.tick()
    broker.errors = {"j": NotSentError("its apply_async returned nothing")}
    clock.advance(MINUTE)
    engine.tick()
    [record] = store.runs("j", 5)
    assert (record.state, record.reason, record.error) == ("skipped", "not_sent", "its apply_async returned nothing")
    assert store.locks() == []

    broker.errors = {}
    clock.advance(MINUTE)
    engine.tick()
    assert len(broker.sent) == 1
    assert history(store) == [("sent", None, 1), ("skipped", "not_sent", 1)]


def test_a_run_of_several_messages_is_closed_as_sent_and_frees_its_lock_at_once(
    make: Callable[..., Engine],
    clock: FakeClock,
    broker: Broker,
    store: MemoryStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = make()
    engine.tick()
    broker.messages = {"j": 3}
    for _ in range(2):
        clock.advance(MINUTE)
        engine.tick()

    assert history(store) == [("sent", "unwatched", 1)] * 2
    [record, _] = store.runs("j", 5)
    assert record.error == "3 messages were sent for it"
    assert record.sent_at == record.ended_at
    assert (store.locks(), store.unsent(timedelta(0), 5, timedelta(0))) == ([], [])
    # Said once.
    assert caplog.text.count("job j is not guarded") == 1


def test_a_store_that_could_not_be_told_of_them_is_told_by_the_next_pass(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make()
    engine.tick()
    broker.messages = {"j": 2}
    end = store.end

    def silent(*args: Any) -> Any:
        raise StoreUnavailableError("redis://x", "timed out")

    store.end = silent  # type: ignore[method-assign]
    clock.advance(MINUTE)
    engine.tick()
    store.end = end  # type: ignore[method-assign]
    clock.advance(timedelta(seconds=6))
    engine.tick()

    assert len(broker.sent) == 1
    assert history(store) == [("sent", "unwatched", 1)]


def test_what_the_broker_nacks_waits_and_is_sent_again_and_holds_up_no_other(
    make: Callable[..., Engine],
    clock: FakeClock,
    broker: Broker,
    store: MemoryStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = make(full={"task": "t", "schedule": 60}, good={"task": "t", "schedule": 60})
    engine.tick()
    broker.full = {"full"}
    clock.advance(MINUTE)
    engine.tick()
    assert [dispatch.job for dispatch in broker.sent] == ["good"]
    assert history(store, "full") == [("claimed", None, 1)]
    clock.advance(timedelta(seconds=6))
    engine.tick()
    assert caplog.text.count("the broker takes no message of job full now") == 1

    broker.full = set()
    clock.advance(timedelta(seconds=6))
    engine.tick()
    assert [dispatch.job for dispatch in broker.sent] == ["good", "full"]
    assert history(store, "full") == [("sent", None, 1)]


def test_many_that_are_nacked_are_tried_once_a_pass(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make(**{f"j{n}": {"task": "t", "schedule": 60} for n in range(450)})
    engine.tick()
    broker.full = {f"j{n}" for n in range(450)}
    clock.advance(MINUTE)
    engine.tick()
    asked = []
    unsent = store.unsent
    monkeypatch.setattr(store, "unsent", lambda *args: asked.append(args) or unsent(*args))
    clock.advance(timedelta(seconds=6))
    engine.tick()
    assert len(asked) == 1


class SpeechlessError(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SpeechlessError(), "SpeechlessError: it cannot say what is wrong"),
        (KeyError("half \ud800"), "KeyError: 'half \\ud800'"),
        (ValueError("half \ud800"), "ValueError: half ?"),
        (ValueError("x" * 5000), "ValueError: " + "x" * 2000 + "..."),
        (ValueError(), "ValueError"),
    ],
    ids=["speechless", "repr of a surrogate", "surrogate", "long", "empty"],
)
def test_whatever_an_error_says_its_run_ends(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore, error: Exception, words: str
) -> None:
    engine = make()
    engine.tick()
    broker.errors = {"j": error}
    clock.advance(MINUTE)
    engine.tick()
    [record] = store.runs("j", 5)
    assert (record.state, record.reason, record.error) == ("failed", "unsendable", words)


def test_what_cannot_be_made_ends_while_the_broker_is_away(
    make: Callable[..., Engine], clock: FakeClock, store: MemoryStore
) -> None:
    from celery_legion.engine.dispatcher import Publisher

    engine = make(bad={"task": "t", "schedule": 60}, good={"task": "t", "schedule": 60})

    def publish(self: Any, dispatches: Any, send: Any) -> Any:
        for dispatch in dispatches:
            dispatch.error = KeyError("own") if dispatch.job == "bad" else None
        raise BrokerUnavailableError("amqp://", "refused")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Publisher, "publish", publish)
        engine.tick()
        clock.advance(MINUTE)
        engine.tick()
    assert (history(store, "bad"), history(store, "good")) == ([("failed", "unsendable", 1)], [("claimed", None, 1)])
