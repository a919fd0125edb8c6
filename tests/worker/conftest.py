"""Fixtures of the worker's tests: trials on the session's server, emptied for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from tests.servers.processes import Processes
from tests.worker.trial import Trial


@pytest.fixture
def new_trial(redis_url: str, processes: Processes) -> Iterator[Callable[..., Trial]]:
    """Return a function that opens a trial on the emptied server; its workers end with the test."""
    trials: list[Trial] = []
    with Redis.from_url(redis_url) as client:
        client.flushall()

    def new(**options: Any) -> Trial:
        trials.append(Trial(redis_url, processes, **options))
        return trials[-1]

    yield new
    for trial in trials:
        trial.close()


@pytest.fixture
def trial(new_trial: Callable[..., Trial]) -> Trial:
    return new_trial()
