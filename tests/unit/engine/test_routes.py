"""Where a job's messages go, and whether they jump their queue: what the store concludes from their order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kombu import Exchange, Queue
from kombu.common import Broadcast

from celery_legion.engine import Engine
from celery_legion.stores.memory import MemoryStore
from tests.unit.engine.bench import MINUTE, START, Broker, FakeClock


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


FAN = Exchange("all", type="fanout")


@pytest.mark.parametrize(
    ("options", "conf"),
    [
        ({"queue": "everyone"}, {"task_queues": (Broadcast("everyone"),)}),
        ({"queue": Broadcast("everyone")}, {}),
        ({"exchange": "all"}, {"task_queues": (Queue("mine", FAN),)}),
        ({"exchange": FAN, "routing_key": "x"}, {}),
        ({"queue": "mine"}, {"task_queues": (Queue("mine", FAN),)}),
        ({}, {"task_queues": (Queue("mine", FAN), Queue("celery")), "task_routes": {"t": {"queue": "mine"}}}),
    ],
    ids=["broadcast", "broadcast object", "exchange's name", "exchange", "queue of an exchange", "route"],
)
def test_a_fire_for_every_worker_has_no_lock_and_no_header_and_is_said_once(
    make: Callable[..., Engine],
    clock: FakeClock,
    broker: Broker,
    store: MemoryStore,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
    conf: dict[str, Any],
) -> None:
    engine = make(j={"task": "t", "schedule": 60, "options": options})
    engine.context.app.conf.update(conf)
    engine.tick()
    for _ in range(2):
        clock.advance(MINUTE)
        engine.tick()

    assert [dispatch.header for dispatch in broker.sent] == [None, None]
    assert [(record.state, record.reason) for record in store.runs("j", 5)] == [("sent", "unwatched")] * 2
    assert store.locks() == []
    assert caplog.text.count("job j goes to every worker that listens to exchange") == 1


def test_a_message_that_cannot_even_be_kept_is_claimed_and_its_job_goes_on(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    class Unwilling:
        def __json__(self) -> None:
            raise KeyError("own")

    engine = make(j={"task": "t", "schedule": 60, "args": [Unwilling()]})
    engine.tick()
    for _ in range(2):
        clock.advance(MINUTE)
        store.release(None)
        engine.tick()
    assert len(broker.sent) == 2
    assert {run.message for run in store.all_runs.values()} == {""}


@pytest.mark.parametrize("error", [KeyError("own"), OSError("own")])
def test_a_router_that_raises_keeps_no_claim_back(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore, error: Exception
) -> None:
    def route(*_: Any, **__: Any) -> None:
        raise error

    engine = make()
    engine.context.app.conf.task_routes = (route,)
    engine.tick()
    clock.advance(MINUTE)
    engine.tick()
    [run] = store.all_runs.values()
    assert run.queue is None


def test_an_expiry_at_the_end_of_the_calendar_is_one(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make(j={"task": "t", "schedule": 60, "options": {"expires": datetime.max.replace(tzinfo=UTC)}})
    engine.tick()
    clock.advance(MINUTE)
    engine.tick()
    [run] = store.all_runs.values()
    assert run.deadline is not None and run.deadline.year == 9999
