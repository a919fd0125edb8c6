"""An engine over the memory store: time is an argument, and a list is the broker."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from celery.schedules import crontab

from celery_legion.context import Context
from celery_legion.engine import Dispatch, Engine
from celery_legion.engine import dispatcher as dispatcher_module
from celery_legion.engine.dispatch import Making
from celery_legion.errors import BrokerUnavailableError
from celery_legion.stores.memory import MemoryStore
from tests.unit.engine.bench import Broker, FakeClock
from tests.unit.engine.pair import Pair


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker()

    class FakePublisher:
        """The publisher's contract over the list."""

        def __init__(self, app: Any, timeout: timedelta, monotonic: Callable[[], float]) -> None:
            self.broken = False
            self.monotonic, self.not_before = monotonic, 0.0

        def ready(self) -> bool:
            return self.monotonic() >= self.not_before

        def consumers(self) -> dict[str, set[str]]:
            made.asked += 1
            return made.workers

        def count_consumers(self, queue: str) -> int | None:
            return made.counted

        def retry_in(self) -> float:
            return max(0.0, self.not_before - self.monotonic())

        def is_ready(self, dispatch: Dispatch) -> bool:
            return dispatch.job not in made.slow

        def wait(self, seconds: float) -> None:
            made.wait(seconds)

        def publish(self, dispatches: list[Dispatch], send: Any) -> list[str]:
            if made.down:
                self.broken, self.not_before = True, self.monotonic() + 1
                raise BrokerUnavailableError("amqp://", "refused")
            self.broken = False
            for dispatch in dispatches:
                dispatch.error = made.errors.get(dispatch.job)
                made.tries[dispatch.job] += 1
                dispatch.nacked = dispatch.job in made.full
                dispatch.late = dispatch.job in made.slow
                dispatch.accepted = dispatch.error is None and not dispatch.nacked and not dispatch.late
                count = made.messages.get(dispatch.job, 1)
                dispatch.making = Making(drafts=(), messages=count, guarded=count == 1, elsewhere=False)
                if dispatch.accepted:
                    made.sent.append(dispatch)
            return [dispatch.run_id for dispatch in dispatches if dispatch.accepted]

    monkeypatch.setattr(dispatcher_module, "Publisher", FakePublisher)
    return made


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(now=clock.now)


@pytest.fixture
def make(clock: FakeClock, broker: Broker, store: MemoryStore) -> Callable[..., Engine]:
    def engine(guarded: bool = True, main: str = "shop", **entries: Any) -> Engine:
        app = Celery(main, broker="redis://localhost:6379/0", set_as_current=False)
        app.conf.result_expires = None
        app.conf.beat_schedule = entries or {"j": {"task": "t", "schedule": 60}}
        context = Context(app, clock)
        context.registry.guarded = guarded
        context.use_store(store)
        made = Engine(context, lambda dispatch, producer: None)
        # An epoch of its own for each: owners differ by more than the process in these tests.
        made.owner = f"{made.owner}:{id(made)}"
        return made

    return engine


@pytest.fixture
def idle(make: Callable[..., Engine]) -> Engine:
    """An engine that never passes, with one job that is seldom due."""
    return make(j={"task": "t", "schedule": crontab(minute="0", hour="3")})


@pytest.fixture
def pair(make: Callable[..., Engine], clock: FakeClock, broker: Broker) -> Pair:
    made = Pair(make, clock, broker)
    made.tick(passes=130)
    assert made.leader.epoch == 1
    assert made.standby.epoch is None
    assert len(made.fires) == 2
    return made
