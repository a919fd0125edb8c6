"""A leader and a standby on one store that forgets, and what they have sent."""

from __future__ import annotations

from collections.abc import Callable
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
                engine.tick()

    def lose_all(self) -> None:
        """Let the store be one that knows nothing."""
        empty = MemoryStore(now=self.clock.now)
        for engine in (self.leader, self.standby):
            engine.context.use_store(empty)

    @property
    def fires(self) -> list[datetime | None]:
        return [dispatch.fire_time for dispatch in self.broker.sent]


def each_minute(fires: list[datetime | None], first: datetime = START + MINUTE / 2) -> bool:
    """Whether these are all fires from the first to the last, each once."""
    return fires == [first + number * MINUTE for number in range(len(fires))]
