"""The Redis store conforms, on a real server and by its clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest

from celery_legion.stores import open_store
from celery_legion.stores.base import Retention, Store, StoreOptions
from celery_legion.testing.conformance import Keeping, StoreConformance


class ServerClock:
    """The server's clock: nobody can move it, so one waits."""

    def advance(self, span: timedelta) -> None:
        time.sleep(span.total_seconds())


class TestRedis(StoreConformance):
    tick = timedelta(milliseconds=60)

    @pytest.fixture
    def clock(self) -> ServerClock:
        return ServerClock()

    @pytest.fixture
    def keeping(self, redis_url: str) -> Iterator[Keeping]:
        opened = []

        def keep(retention: Retention) -> Store:
            prefix = f"test:{uuid4().hex}"
            opened.append(open_store(StoreOptions(url=redis_url, prefix=prefix, retention=retention)))
            return opened[-1]

        yield keep
        for store in opened:
            store.close()

    @pytest.fixture
    def store(self, keeping: Keeping) -> Store:
        return keeping(Retention())
