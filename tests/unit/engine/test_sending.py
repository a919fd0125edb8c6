"""From claimed to sent, whatever the broker does; and pushes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from celery_legion.engine import Engine
from celery_legion.errors import StoreUnavailableError
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
    broker.poisoned = {"bad"}
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
