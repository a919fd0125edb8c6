"""A server that takes no writes, for want of its replicas or as one itself, can still be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis

from celery_legion.errors import StoreError, StoreUnavailableError
from celery_legion.stores import open_store
from celery_legion.stores.base import Pause, Store, StoreOptions

OLD = datetime(2020, 1, 1, tzinfo=UTC)

READING: dict[str, Callable[[Any], Any]] = {
    "states": lambda store: store.states(["job"]),
    "runs": lambda store: store.runs(None, 10),
    "running": lambda store: store.running(),
    "locks": lambda store: store.locks(),
    "schedulers": lambda store: store.schedulers(),
    "workers": lambda store: store.workers(),
    "queues": lambda store: store.queues(),
    "asides": lambda store: store.asides(10),
    "requests": lambda store: store.requests(10),
    "definitions": lambda store: store.definitions(),
    "pauses": lambda store: store.pauses(),
    "get": lambda store: store.get("run"),
    "interruption": lambda store: store.interruption("run"),
    "now": lambda store: store.now(),
    "warnings": lambda store: store.warnings(),
}


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    with closing(open_store(StoreOptions(url=redis_url, prefix="p"))) as store:
        store.pause(Pause(name="job", since=OLD, until=OLD))
        store.pause(Pause(name="other", since=OLD))
        with Redis.from_url(redis_url) as redis:
            # A lock whose time is over, as a crash leaves it.
            redis.zadd("{p}:lock:job", {"run": 1})
            redis.sadd("{p}:locks", "job")
        yield store


@pytest.fixture
def lonely(store: Store, redis_url: str) -> Iterator[Store]:
    with Redis.from_url(redis_url) as redis:
        redis.config_set("min-replicas-to-write", 1)
        try:
            yield store
        finally:
            redis.config_set("min-replicas-to-write", 0)


@pytest.fixture
def replica(store: Store, redis_url: str) -> Iterator[Store]:
    with Redis.from_url(redis_url) as redis:
        redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            yield store
        finally:
            redis.execute_command("REPLICAOF", "NO", "ONE")


@pytest.mark.parametrize("verb", READING)
def test_reading_needs_no_writes(lonely: Store, verb: str) -> None:
    READING[verb](lonely)


def test_what_is_over_is_not_shown_all_the_same(lonely: Store) -> None:
    assert lonely.locks() == []
    assert list(lonely.pauses()) == ["other"]


def test_a_pause_that_is_over_is_forgotten_with_the_next_one(store: Store, redis_url: str) -> None:
    store.pause(Pause(name="third", since=OLD))
    with Redis.from_url(redis_url) as redis:
        assert sorted(redis.hkeys("{p}:pauses")) == [b"other", b"third"]


def test_a_refused_write_says_that_replicas_are_missing(lonely: Store) -> None:
    with pytest.raises(StoreError, match="NOREPLICAS"):
        lonely.put("job", "{}")


def test_a_replica_is_called_one(replica: Store) -> None:
    with pytest.raises(StoreUnavailableError, match="it has become a replica: let the URL name") as caught:
        replica.put("job", "{}")
    assert "cannot be reached" not in str(caught.value)
