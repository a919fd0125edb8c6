"""Pushes of jobs whose lazy arguments take their time."""

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
