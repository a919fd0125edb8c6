"""Fixtures of the worker's unit tests: an app with one job, on a store in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from celery_legion import Legion
from celery_legion.stores.memory import MemoryStore
from celery_legion.testing.conformance_case import know
from celery_legion.worker.hooks import HookRunner
from tests.unit.worker.hooks import JOB, LATER, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    made = MemoryStore(now=clock.now)
    know(made)
    return made


@pytest.fixture
def app() -> Iterator[Celery]:
    made = Celery("shop", broker="memory://", set_as_current=True)
    yield made
    made.close()


@pytest.fixture
def legion(app: Celery, store: MemoryStore) -> Legion:
    app.conf.legion_store_url = "memory://hooks"
    # An entry, so that it has no hooks but the schedule's.
    app.conf.beat_schedule = {JOB: {"task": "shop.job", "schedule": 60}}
    made = Legion(app)
    made.context.use_store(store)
    return made


@pytest.fixture
def runner(legion: Legion) -> HookRunner:
    return HookRunner(legion.context, LATER.append)
