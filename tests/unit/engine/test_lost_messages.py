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


def look(engine: Engine, clock: FakeClock) -> None:
    """Let the engine lead, and some seconds later look for what got lost."""
    engine.tick()
    clock.advance(6 * SECOND)
    engine.tick()


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


@pytest.mark.parametrize("options", [{"countdown": 600}, {"countdown": timedelta(minutes=10)}, {"eta": "12:11"}])
def test_a_countdown_does_not_count(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore, options: dict[str, Any]
) -> None:
    if "eta" in options:
        options = {"eta": (clock.now() + timedelta(minutes=10, seconds=30)).isoformat()}
    engine = make(j={"task": "t", "schedule": 60, "options": options})
    engine.tick()
    clock.advance(MINUTE)
    began = clock.now()
    moments = []
    while clock.now() - began < 14 * MINUTE:
        clock.advance(5 * SECOND)
        idle(store)
        before = len(broker.sent)
        engine.tick()
        if len(broker.sent) > before:
            moments.append((clock.now() - began) / MINUTE)

    assert [round(moment) for moment in moments] == [0, 11, 13]
    assert len(set(broker.ids)) == 1


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
    clock.advance(LEASE)
    look(engine, clock)
    assert SAID not in caplog.text
    broker.down = False
    clock.advance(LEASE)
    look(engine, clock)

    assert len(broker.sent) == 2
    assert caplog.text.count(SAID) == 1


def test_the_next_leader_sends_it_once_it_has_sent_what_is_due(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    first, second = make(), make()
    lose(first, clock, store)
    clock.advance(LEASE + SECOND)
    second.tick()
    asked = broker.asked
    assert second.epoch is not None
    clock.advance(5 * SECOND)
    second.tick()

    assert broker.ids == broker.ids[:1] * 2
    assert (asked, broker.asked) == (0, 1)


def test_a_one_shot_sends_it(make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore) -> None:
    engine = make()
    lose(engine, clock, store)
    clock.advance(LEASE + SECOND)
    shot(engine).run_due()

    assert len(broker.sent) == 2


def test_one_that_cannot_be_sent_again_is_not_ended_since_the_broker_had_it(
    make: Callable[..., Engine],
    clock: FakeClock,
    broker: Broker,
    store: MemoryStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = make()
    lose(engine, clock, store)
    broker.errors = {"j": TypeError("no JSON")}
    clock.advance(LEASE)
    look(engine, clock)

    assert "seems to be lost, and cannot be sent again: TypeError: no JSON" in caplog.text
    assert history(store)[-1] == ("sent", None, 1)


def test_one_that_nobody_can_make_a_message_for_is_not_ended_either(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    lose(make(), clock, store)
    for run in store.all_runs.values():
        run.message = ""
    other = make(other={"task": "t", "schedule": 3600})
    clock.advance(LEASE + SECOND)
    look(other, clock)

    assert len(broker.sent) == 1
    assert history(store) == [("sent", None, 1)]


def test_one_whose_job_is_gone_is_sent_as_it_was(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    lose(make(j={"task": "t", "schedule": 60, "args": (1,)}), clock, store)
    clock.advance(LEASE + SECOND)
    other = make(other={"task": "t", "schedule": 3600})
    look(other, clock)

    messages: list[Any] = [dispatch.message.args for dispatch in broker.sent]
    assert messages[0] == messages[1]
