"""The memory store conforms, and is one per name and prefix."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from celery_legion.stores import open_store
from celery_legion.stores.base import Retention, Store, StoreOptions
from celery_legion.stores.memory import MemoryStore
from celery_legion.testing.conformance import Keeping, StoreConformance


class HandClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def advance(self, span: timedelta) -> None:
        self.moment += span


class TestMemory(StoreConformance):
    tick = timedelta(seconds=1)

    @pytest.fixture(autouse=True)
    def _eager_threads(self) -> Iterator[None]:
        """Let threads take turns in the middle of whatever they do."""
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        yield
        sys.setswitchinterval(interval)

    @pytest.fixture
    def clock(self) -> HandClock:
        return HandClock()

    @pytest.fixture
    def store(self, clock: HandClock) -> Store:
        return MemoryStore(now=clock.now)

    @pytest.fixture
    def keeping(self, clock: HandClock) -> Keeping:
        def keep(retention: Retention) -> Store:
            return MemoryStore(retention=retention, now=clock.now)

        return keep


def test_the_same_name_and_prefix_open_the_same_store() -> None:
    first = open_store(StoreOptions(url="memory://one", prefix="same"))
    first.put("job", "{}")
    assert open_store(StoreOptions(url="memory://one", prefix="same")) is first
    first.close()
    assert open_store(StoreOptions(url="memory://one", prefix="same")).definitions() == {"job": "{}"}


def test_another_name_or_prefix_opens_another_store() -> None:
    urls = [("memory://two", "p"), ("memory://three", "p"), ("memory://two", "q"), ("memory://", "p")]
    stores = [open_store(StoreOptions(url=url, prefix=prefix)) for url, prefix in urls]
    assert len({id(store) for store in stores}) == 4


def test_without_a_clock_of_ones_own_it_is_this_machines() -> None:
    before = datetime.now(UTC)
    now = MemoryStore().now()
    assert before - timedelta(milliseconds=1) <= now <= datetime.now(UTC)
