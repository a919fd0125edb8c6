"""Jobs whose lazy arguments take their time, pushed and due."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

from celery.beat import BeatLazyFunc

from celery_legion.engine import Engine
from celery_legion.stores.base import Request
from celery_legion.stores.memory import MemoryStore
from tests.unit.engine.bench import Broker, FakeClock


def test_a_leader_that_evaluates_for_longer_than_its_lease_keeps_the_lead(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    def slow() -> int:
        clock.advance(timedelta(seconds=1))
        return 1

    leader = make(j={"task": "t", "schedule": 3600, "args": (BeatLazyFunc(slow),)})
    leader.tick()
    for number in range(30):
        store.push(Request(id=f"p-{number}", body=json.dumps({"job": "j"})))
    # The lock is held from the first on; what counts is that all are accounted for.
    leader.tick()
    assert leader.epoch == 1
    assert store.requests(100) == []
    assert broker.ids == ["p-0"]


def test_a_leader_keeps_the_lead_over_due_fires_that_are_evaluated_for_longer_than_its_lease(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    def slow() -> int:
        clock.advance(timedelta(seconds=1))
        return 1

    entry = {"task": "t", "schedule": 60, "args": (BeatLazyFunc(slow),)}
    leader = make(**{f"j-{number}": entry for number in range(30)})
    for seconds in (0, 55, 5):
        clock.advance(timedelta(seconds=seconds))
        leader.tick()

    # The second pass came long after the first one's lease; the third took half a minute.
    assert leader.epoch == 2
    assert len(broker.ids) == 30
    leader.tick()
    assert leader.epoch == 2
