"""Servers and processes for all tests: started on free loopback ports, ended by their ids."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("celery_legion.testing")

from celery_legion.embedded import EmbeddedValkey, NoServerError  # noqa: E402
from tests.servers.processes import Processes  # noqa: E402


def missing(what: str) -> None:
    """Skip a test whose optional server is missing here; in CI that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have it: {what}")
    pytest.skip(what)


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    """A server for the whole session; tests that stop or kill a server start their own."""
    server = EmbeddedValkey()
    try:
        server.start()
    except NoServerError as exc:
        missing(str(exc))
    yield server
    server.close()


@pytest.fixture
def redis_url(valkey: EmbeddedValkey) -> str:
    """The URL of an empty database of the session's server."""
    import redis

    url = valkey.url(0)
    redis.Redis.from_url(url).flushdb()
    return url


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts processes; ends what is left of them after the test."""
    started = Processes(tmp_path)
    yield started
    started.end()
