"""Where a job's messages go, and whether they jump their queue: what the store concludes from their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kombu import Queue

from celery_legion.engine import Engine
from celery_legion.stores.memory import MemoryStore
from tests.unit.engine.bench import MINUTE, FakeClock


@pytest.mark.parametrize(
    ("options", "conf", "queue", "jumps"),
    [
        ({}, {}, "celery", False),
        ({"priority": 9}, {}, "celery", True),
        ({"priority": 0}, {}, "celery", False),
        ({"priority": 5}, {"task_default_priority": 5}, "celery", False),
        ({}, {"task_routes": {"t": {"queue": "mails", "priority": 3}}}, "mails", True),
        ({"queue": Queue("mails")}, {}, "mails", False),
        ({"queue": "mails", "priority": 9}, {}, "mails", True),
        ({"exchange": "ex", "routing_key": "a"}, {}, None, False),
    ],
)
def test_a_claim_says_where_its_message_goes(
    make: Callable[..., Engine],
    clock: FakeClock,
    store: MemoryStore,
    options: dict[str, Any],
    conf: dict[str, Any],
    queue: str | None,
    jumps: bool,
) -> None:
    engine = make(j={"task": "t", "schedule": 60, "options": options})
    engine.context.app.conf.update(conf)
    engine.tick()
    clock.advance(MINUTE)
    engine.tick()

    [run] = store.all_runs.values()
    assert (run.queue, run.jumps) == (queue, jumps)
