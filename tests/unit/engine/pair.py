"""A leader and a standby on one store that forgets, and what they have sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from celery.schedules import crontab

from celery_legion.engine import Engine
from celery_legion.stores.memory import MemoryStore
from tests.unit.engine.bench import MINUTE, START, Broker, FakeClock

SECOND = timedelta(seconds=1)
Make = Callable[..., Engine]


class Pair:
    """A leader and a standby on one store, with one job at each full minute that takes no lock."""

    def __init__(self, make: Make, clock: FakeClock, broker: Broker) -> None:
        self.clock, self.broker = clock, broker
        self.leader, self.standby = (make(guarded=False, j={"task": "t", "schedule": crontab()}) for _ in range(2))

    def tick(self, *engines: Engine, passes: int = 1) -> None:
        """Let a second pass, and *engines* (or both) do what they do in it."""
        for _ in range(passes):
            self.clock.advance(SECOND)
            for engine in engines or (self.leader, self.standby):
                if engine.tick() <= 0:
                    engine.tick()

    def lose_all(self, *others: Engine) -> None:
        """Let the store be one that knows nothing, for *others* as well."""
        empty = MemoryStore(now=self.clock.now)
        for engine in (self.leader, self.standby, *others):
            engine.context.use_store(empty)

    def lose_all_after_a_fire(self) -> None:
        """Let the leader send the third fire, which the standby does not see, and the store lose all."""
        self.tick(passes=19)
        self.tick(self.leader)
        assert len(self.fires) == 3
        self.lose_all()

    def forget_pulses(self, count: int) -> None:
        """Let the store be a replica that is *count* pulses behind with who is registered."""
        store = self.leader.context.store
        assert isinstance(store, MemoryStore)
        store.schedulers_seen = {
            owner: replace(lease, till=lease.till - count * SECOND, serial=lease.serial - count)
            for owner, lease in store.schedulers_seen.items()
        }

    @property
    def fires(self) -> list[datetime | None]:
        return [dispatch.fire_time for dispatch in self.broker.sent]


def each_minute(fires: list[datetime | None]) -> bool:
    """Whether these are all fires from the first to the last, each once."""
    first = START + MINUTE / 2
    return fires == [first + number * MINUTE for number in range(len(fires))]
