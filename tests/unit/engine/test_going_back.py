"""A store that has lost its last moments, as by a failover to a replica: the leader knows better."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from celery_legion.engine import Engine
from celery_legion.stores.memory import MemoryStore
from celery_legion.stores.memory.marks import Mark
from tests.unit.engine.bench import MINUTE, START, Broker, FakeClock


@pytest.mark.parametrize("lead", ["kept", "lost"])
def test_fires_that_the_store_has_forgotten_are_not_sent_again(
    make: Callable[..., Engine],
    clock: FakeClock,
    broker: Broker,
    store: MemoryStore,
    caplog: pytest.LogCaptureFixture,
    lead: str,
) -> None:
    leader = make(guarded=False, j={"task": "t", "schedule": 60})
    leader.tick()
    for _ in range(3):
        clock.advance(MINUTE)
        leader.tick()
    before = list(broker.ids)
    fires = [dispatch.fire_time for dispatch in broker.sent]

    # What the replica has: the mark of two minutes ago, no runs and no locks.
    clock.advance(timedelta(seconds=1))
    for table in (store.all_runs, store.records, store.unconfirmed, store.queued, store.done):
        table.clear()
    store.marks["j"] = Mark(fire_time=START + MINUTE)
    if lead == "lost":
        store.resign(leader.owner)
    leader.tick()
    assert broker.ids == before
    clock.advance(MINUTE)
    leader.tick()
    clock.advance(timedelta(seconds=1))
    leader.tick()

    sent = [dispatch.fire_time for dispatch in broker.sent]
    assert sent == [*fires, START + 4 * MINUTE]
    assert "it is told them again" in caplog.text
