"""Messages that the broker had and has lost: they are sent again, under the same id, and the log says so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from celery_legion.engine import Engine
from celery_legion.run import State
from celery_legion.stores.base import Claim, WorkerInfo
from celery_legion.stores.memory import MemoryStore
from celery_legion.testing.conformance_case import ticket
from tests.unit.engine.bench import MINUTE, Broker, FakeClock, history
from tests.unit.engine.shots import shot

SECOND = timedelta(seconds=1)
LEASE = timedelta(seconds=60)
SAID = "seems to be lost; it is sent again"


def idle(store: MemoryStore) -> None:
    """Let the queue's worker say that nothing is in it."""
    store.register(WorkerInfo(name="w", queues=("celery",), version="1", pid=1, idle=SECOND), 5 * MINUTE)


def lose(engine: Engine, clock: FakeClock, store: MemoryStore) -> None:
    """Let one run be sent, and its message get lost."""
    engine.tick()
    clock.advance(MINUTE)
    engine.tick()
    clock.advance(2 * SECOND)
    idle(store)


def test_it_is_sent_again_once_it_is_missing_for_a_lease(
    make: Callable[..., Engine],
    clock: FakeClock,
    broker: Broker,
    store: MemoryStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = make(j={"task": "t", "schedule": 60, "args": (1, "ß")})
    lose(engine, clock, store)
    clock.advance(LEASE - SECOND)
    engine.tick()
    assert len(broker.sent) == 1
    assert SAID not in caplog.text
    clock.advance(6 * SECOND)
    engine.tick()

    first, again = broker.sent
    assert (again.run_id, again.message, again.header) == (first.run_id, first.message, first.header)
    assert f"the message of run {first.run_id} of job j {SAID}" in caplog.text
    assert history(store)[-1] == ("sent", None, 1)


def test_it_has_twice_the_time_each_time(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make()
    lose(engine, clock, store)
    moments = []
    began = clock.now()
    while clock.now() - began < 16 * LEASE:
        clock.advance(5 * SECOND)
        idle(store)
        before = len(broker.sent)
        engine.tick()
        if len(broker.sent) > before:
            moments.append((clock.now() - began) / LEASE)

    assert len(set(broker.ids)) == 1
    assert [round(moment) for moment in moments] == [1, 3, 7, 15]


def test_one_that_has_begun_is_not_sent_again(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make()
    lose(engine, clock, store)
    [run] = [record for record in store.runs("j", 5) if record.state is State.SENT]
    assert run.id is not None
    store.begin(ticket(Claim(job="j", fire_time=run.fire_time, mark=None, run_id=run.id, lock="j")))
    clock.advance(2 * LEASE)
    engine.tick()

    assert len(broker.sent) == 1


def test_past_its_deadline_it_expires_instead(
    make: Callable[..., Engine],
    clock: FakeClock,
    broker: Broker,
    store: MemoryStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = make(j={"task": "t", "schedule": 600, "options": {"expires": 30}})
    engine.tick()
    clock.advance(10 * MINUTE)
    engine.tick()
    clock.advance(2 * SECOND)
    idle(store)
    clock.advance(LEASE + SECOND)
    engine.tick()

    assert len(broker.sent) == 1
    assert SAID not in caplog.text
    assert history(store) == [("expired", "past_deadline", 1)]


def test_while_the_broker_is_away_it_waits(
    make: Callable[..., Engine],
    clock: FakeClock,
    broker: Broker,
    store: MemoryStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = make()
    lose(engine, clock, store)
    broker.down = True
    clock.advance(LEASE + 6 * SECOND)
    engine.tick()
    assert SAID not in caplog.text
    broker.down = False
    clock.advance(6 * SECOND)
    engine.tick()

    assert len(broker.sent) == 2
    assert caplog.text.count(SAID) == 1


def test_the_next_leader_sends_it_at_once(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    first, second = make(), make()
    lose(first, clock, store)
    clock.advance(LEASE + SECOND)
    second.tick()

    assert len(broker.sent) == 2


def test_a_one_shot_sends_it(make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore) -> None:
    engine = make()
    lose(engine, clock, store)
    clock.advance(LEASE + SECOND)
    shot(engine).run_due()

    assert len(broker.sent) == 2


def test_one_whose_job_is_gone_is_sent_as_it_was(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    lose(make(j={"task": "t", "schedule": 60, "args": (1,)}), clock, store)
    clock.advance(LEASE + SECOND)
    make(other={"task": "t", "schedule": 3600}).tick()

    messages: list[Any] = [dispatch.message.args for dispatch in broker.sent]
    assert messages[0] == messages[1]


@pytest.mark.parametrize(
    ("workers", "why"),
    [
        ({"w": {"celery"}, "old": {"celery"}}, "worker old of queue celery has no Legion(app) and may have it"),
        ({"w": {"mails"}}, "no worker of queue celery answers Celery's remote control"),
        ({}, "no worker of queue celery answers Celery's remote control"),
    ],
    ids=["a stranger", "another queue", "nobody"],
)
def test_where_a_worker_may_have_it_that_does_not_report_it_is_not_sent_again(
    make: Callable[..., Engine],
    clock: FakeClock,
    broker: Broker,
    store: MemoryStore,
    caplog: pytest.LogCaptureFixture,
    workers: dict[str, set[str]],
    why: str,
) -> None:
    broker.workers = workers
    engine = make()
    lose(engine, clock, store)
    for _ in range(30):
        clock.advance(5 * SECOND)
        idle(store)
        engine.tick()

    assert len(broker.sent) == 1
    assert caplog.text.count(f"seems to be lost, but {why}") == 1

    broker.workers = {"w": {"celery"}, "mailer": {"mails"}}
    clock.advance(5 * MINUTE)
    idle(store)
    engine.tick()
    assert len(broker.sent) == 2
