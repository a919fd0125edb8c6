"""A pass: what is due, skipped, and when the next one is wanted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from celery_legion.engine import Engine
from celery_legion.stores.base import Pause
from celery_legion.stores.memory import MemoryStore
from tests.unit.engine.bench import MINUTE, START, Broker, FakeClock, history


def test_nothing_of_the_past_fires_at_first_sight_and_an_interval_counts_from_it(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker
) -> None:
    engine = make()

    assert engine.tick() == pytest.approx(1.0)
    assert broker.sent == []
    clock.advance(MINUTE)
    engine.tick()
    assert [dispatch.fire_time for dispatch in broker.sent] == [START + MINUTE]


def test_the_delay_is_the_time_to_the_next_fire(make: Callable[..., Engine], clock: FakeClock) -> None:
    engine = make()
    engine.tick()
    clock.advance(MINUTE - timedelta(milliseconds=250))

    assert engine.tick() == pytest.approx(0.25)


def test_a_fire_while_its_run_is_not_over_is_skipped(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make()
    engine.tick()
    for _ in range(3):
        clock.advance(MINUTE)
        engine.tick()

    assert len(broker.sent) == 1
    # Nobody consumes the queue, and that is what is said.
    assert history(store) == [("skipped", "no_worker", 2), ("sent", None, 1)]


def test_a_paused_job_is_skipped_with_its_reason(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make()
    engine.tick()
    store.pause(Pause(name="j", since=clock.now()))
    clock.advance(MINUTE)
    engine.tick()
    store.resume("j")
    clock.advance(MINUTE)
    engine.tick()

    assert history(store) == [("sent", None, 1), ("skipped", "paused", 1)]
