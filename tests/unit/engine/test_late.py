"""Runs whose jobs' own code is slow to make their messages: they wait, and nobody else does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from celery_legion.engine import Engine
from celery_legion.run import Kind, State
from celery_legion.stores.base import Outcome
from celery_legion.stores.memory import MemoryStore
from tests.unit.engine.bench import MINUTE, Broker, FakeClock, history
from tests.unit.engine.shots import job, shot

SECOND = timedelta(seconds=1)


@pytest.fixture
def engine(make: Callable[..., Engine], clock: FakeClock, broker: Broker) -> Engine:
    made = make(slow={"task": "t", "schedule": 7200}, good={"task": "t", "schedule": 60})
    made.tick()
    broker.slow = {"slow"}
    clock.advance(timedelta(hours=2))
    made.tick()
    return made


def sent(broker: Broker, name: str) -> int:
    return sum(dispatch.job == name for dispatch in broker.sent)


def test_it_stays_claimed_and_is_sent_as_soon_as_it_is_made(
    engine: Engine, clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    assert (sent(broker, "slow"), sent(broker, "good")) == (0, 1)
    assert history(store, "slow") == [("claimed", None, 1)]
    clock.advance(SECOND)
    assert engine.tick() <= 0.25
    broker.slow = set()
    clock.advance(SECOND / 4)
    engine.tick()
    assert (sent(broker, "slow"), history(store, "slow")) == (1, [("sent", None, 1)])
    assert engine.tick() > 0.25


def test_it_is_not_asked_for_again_while_it_is_made_and_that_is_said_once(
    engine: Engine, clock: FakeClock, broker: Broker, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    asked = broker.tries["slow"]
    for _ in range(4):
        clock.advance(timedelta(seconds=6))
        engine.tick()
    assert broker.tries["slow"] == asked == 1
    assert caplog.text.count("the own code of job slow has been making the message of run") == 1
    assert history(store, "slow") == [("claimed", None, 1)]


def test_its_own_error_ends_it(engine: Engine, clock: FakeClock, broker: Broker, store: MemoryStore) -> None:
    broker.slow, broker.errors = set(), {"slow": KeyError("own")}
    clock.advance(SECOND)
    engine.tick()
    assert history(store, "slow") == [("failed", "unsendable", 1)]


def test_one_that_is_never_made_fails_by_its_own_code_and_not_by_the_broker(
    engine: Engine, clock: FakeClock, store: MemoryStore
) -> None:
    for _ in range(2):
        clock.advance(timedelta(days=1, seconds=1))
        engine.tick()
    record = store.runs("slow", 50)[-1]
    assert (record.state, record.reason) == ("failed", "unsendable")
    assert record.error == "UnmadeError: the job's own code has not made its message in time"


def test_one_that_somebody_has_ended_meanwhile_is_not_sent(
    engine: Engine, clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    [record] = store.runs("slow", 5)
    store.end(record.id, 0, Outcome(state=State.MISSED), store.retention)
    broker.slow = set()
    clock.advance(SECOND)
    engine.tick()
    assert sent(broker, "slow") == 0


def test_who_leads_next_sends_it_under_its_id_and_who_led_does_not(
    engine: Engine, make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    [record] = store.runs("slow", 5)
    other = make(slow={"task": "t", "schedule": 7200}, good={"task": "t", "schedule": 60})
    other.tick()
    clock.advance(MINUTE)
    broker.slow = set()
    other.tick()
    assert other.epoch is not None
    engine.tick()
    assert [one.run_id for one in broker.sent if one.job == "slow"] == [record.id]
    assert engine.epoch is None


@pytest.mark.parametrize("after", [2, 100], ids=["made in time", "given up"])
def test_a_one_shot_waits_for_it_for_as_long_as_for_the_broker(
    idle: Engine,
    clock: FakeClock,
    broker: Broker,
    store: MemoryStore,
    caplog: pytest.LogCaptureFixture,
    after: int,
) -> None:
    def wait(seconds: float) -> None:
        clock.advance(timedelta(seconds=seconds))
        broker.waits += 1
        if broker.waits == after:
            broker.slow = set()

    broker.slow, broker.wait = {"j"}, wait
    [ordered] = shot(idle).run_now([job(idle)], Kind.MANUAL)
    in_time = after == 2
    assert [one.run_id for one in broker.sent] == ([ordered.run_id] if in_time else [])
    assert ("has not made the message of run" in caplog.text) is not in_time
    timeout = idle.config.broker_timeout.total_seconds()
    assert broker.waits == (2 if in_time else timeout / 0.25)
