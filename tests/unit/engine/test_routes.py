"""Where a job's messages go, and whether they jump their queue: what the store concludes from their order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kombu import Queue

from celery_legion.engine import Engine
from celery_legion.stores.memory import MemoryStore
from tests.unit.engine.bench import MINUTE, START, FakeClock


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
    assert run.eta is None
    assert (run.queue, run.jumps) == (queue, jumps)


@pytest.mark.parametrize(
    ("options", "eta"),
    [
        ({"countdown": 90}, START + timedelta(seconds=60 + 90)),
        ({"eta": datetime(2026, 3, 2, 13, tzinfo=UTC)}, datetime(2026, 3, 2, 13, tzinfo=UTC)),
        ({"eta": "2026-03-02T13:00:00+01:00"}, datetime(2026, 3, 2, 12, tzinfo=UTC)),
        ({"eta": datetime(2026, 3, 2, 13)}, datetime(2026, 3, 2, 13, tzinfo=UTC)),
        ({"eta": "soon"}, None),
        ({"eta": None}, None),
    ],
)
def test_a_claim_says_when_its_countdown_is_over(
    make: Callable[..., Engine], clock: FakeClock, store: MemoryStore, options: dict[str, Any], eta: datetime | None
) -> None:
    engine = make(j={"task": "t", "schedule": 60, "options": options})
    engine.context.app.conf.timezone = "America/New_York"
    engine.tick()
    clock.advance(MINUTE)
    engine.tick()

    [run] = store.all_runs.values()
    assert run.eta == eta
