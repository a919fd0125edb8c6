"""An app with a schedule, on a store in memory and a clock that stands."""

from __future__ import annotations

import pytest
from celery import Celery

from celery_legion import Legion
from celery_legion.stores.memory import MemoryStore
from tests.unit.cli.boards import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(now=clock.now)


@pytest.fixture
def legion(clock: Clock, store: MemoryStore) -> Legion:
    app = Celery("shop", broker="redis://localhost:6379/0", set_as_current=False)
    app.conf.update(legion_store_url="memory://listing", result_expires=None, timezone="UTC")
    made = Legion(app)
    made.context.clock = clock
    made.context.use_store(store)
    return made
