"""Schedules that decide when they are asked: how often, with what, and by whom."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from celery.schedules import BaseSchedule, schedstate

from celery_legion.engine import Engine
from celery_legion.errors import StoreUnavailableError
from celery_legion.stores.base import Pause
from celery_legion.stores.memory import MemoryStore
from tests.unit.engine.bench import MINUTE, START, Broker, FakeClock, history, single_pass

SECOND = timedelta(seconds=1)


class Teller(BaseSchedule):
    """Asks a function, and keeps what it was asked."""

    def __init__(self, tell: Callable[[datetime], Any]) -> None:
        super().__init__()
        self.tell, self.asked = tell, []

    def is_due(self, last_run_at: datetime) -> Any:
        self.asked.append(last_run_at)
        return self.tell(last_run_at)


class Clocked(BaseSchedule):
    """Due from a moment on, whatever was run before, and not asked again for years."""

    def __init__(self, at: datetime, clock: FakeClock) -> None:
        super().__init__()
        self.at, self.clock = at, clock

    def is_due(self, last_run_at: datetime) -> Any:
        left = (self.at - self.clock.now()).total_seconds()
        return schedstate(True, 1e8) if left <= 0 else schedstate(False, left)


class Once(Clocked):
    """Remembers by itself that it was due."""

    done = False

    def is_due(self, last_run_at: datetime) -> Any:
        if self.done or self.clock.now() < self.at:
            return False, 5
        self.done = True
        return True, 0


def entry(schedule: Any) -> dict[str, Any]:
    return {"task": "t", "schedule": schedule}


def run(engine: Engine, clock: FakeClock, span: timedelta, step: timedelta = SECOND) -> None:
    until = clock.now() + span
    while clock.now() <= until:
        engine.tick()
        clock.advance(step)


def test_one_that_is_due_once_fires_once(make: Callable[..., Engine], clock: FakeClock, broker: Broker) -> None:
    run(make(j=entry(Clocked(START + 15 * SECOND, clock))), clock, 10 * MINUTE)

    assert [dispatch.fire_time for dispatch in broker.sent] == [START + 15 * SECOND]


def test_one_that_says_it_is_always_due_floods_nobody(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker
) -> None:
    run(make(guarded=False, j=entry(Teller(lambda last: (True, 0)))), clock, MINUTE, timedelta(milliseconds=50))

    assert 55 <= len(broker.sent) <= 61


def test_it_is_asked_when_it_said_and_with_its_last_fire(make: Callable[..., Engine], clock: FakeClock) -> None:
    answers = iter([(False, 5), (True, 10), (False, 20), (False, 20)])
    teller = Teller(lambda last: next(answers))
    run(make(j=entry(teller)), clock, 40 * SECOND)

    fire = teller.asked[2]
    assert teller.asked == [START, START, fire, fire]
    assert START + 5 * SECOND <= fire <= START + 7 * SECOND


def test_a_change_of_its_mind_is_followed(make: Callable[..., Engine], clock: FakeClock, broker: Broker) -> None:
    dirty = False
    engine = make(guarded=False, j=entry(Teller(lambda last: (dirty, 3))))
    run(engine, clock, 20 * SECOND)
    assert not broker.sent
    dirty = True
    run(engine, clock, 12 * SECOND)
    assert 4 <= len(broker.sent) <= 5


def test_missed_moments_are_not_made_up_for(make: Callable[..., Engine], clock: FakeClock, broker: Broker) -> None:
    engine = make(guarded=False, j=entry(Teller(lambda last: (clock.now() - last >= MINUTE, 5))))
    engine.tick()
    clock.advance(60 * MINUTE)
    run(engine, clock, 30 * SECOND)

    assert len(broker.sent) == 1


class SilentError(Exception):
    """Says nothing, not even when it is asked."""

    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize("said", [OSError("the database is away"), "tomorrow", None, SilentError()])
def test_one_that_cannot_say_is_told_once_and_asked_again_while_others_run(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, caplog: pytest.LogCaptureFixture, said: Any
) -> None:
    well = False

    def tell(last: datetime) -> Any:
        if well:
            return True, 3600
        if isinstance(said, Exception):
            raise said
        return said

    engine = make(j=entry(60), odd=entry(Teller(tell)))
    run(engine, clock, 5 * MINUTE)
    assert {dispatch.job for dispatch in broker.sent} == {"j"}
    assert len([record for record in caplog.records if "job odd" in record.getMessage()]) == 1
    well = True
    run(engine, clock, 2 * MINUTE)
    assert [dispatch.job for dispatch in broker.sent].count("odd") == 1


def test_what_a_schedule_raises_forges_no_line_of_the_log(
    make: Callable[..., Engine], clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    def tell(last: datetime) -> Any:
        raise ValueError("away\nCRITICAL all is lost\x1b[2J" + "!" * 10_000)

    run(make(j=entry(60), **{"odd\nINFO": entry(Teller(tell))}), clock, 5 * SECOND)

    told = [text for record in caplog.records if "odd" in (text := record.getMessage())]
    assert len(told) == 1
    assert "\n" not in told[0]
    assert "\x1b" not in told[0]
    assert len(told[0]) < 3000


def test_a_takeover_does_not_fire_again_what_is_due_once(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker
) -> None:
    at = START + 15 * SECOND
    first, second = make(j=entry(Clocked(at, clock))), make(j=entry(Clocked(at, clock)))
    run(first, clock, 30 * SECOND)
    first.close()
    run(second, clock, 30 * SECOND)
    assert second.epoch is not None
    assert single_pass(make(j=entry(Clocked(at, clock)))) == 0

    assert len(broker.sent) == 1


def test_one_that_is_written_otherwise_is_asked_at_once(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker
) -> None:
    first = make(guarded=False, j=entry(Clocked(START, clock)))
    run(first, clock, 30 * SECOND)
    first.close()
    run(make(guarded=False, j=entry(Clocked(START + MINUTE, clock))), clock, 2 * MINUTE)

    assert len(broker.sent) == 2


def test_a_standby_asks_nothing(make: Callable[..., Engine], clock: FakeClock) -> None:
    theirs, ours = Teller(lambda last: (False, 1)), Teller(lambda last: (False, 1))
    leader, standby = make(j=entry(theirs)), make(j=entry(ours))
    for _ in range(10):
        leader.tick()
        standby.tick()
        clock.advance(SECOND)

    assert len(theirs.asked) >= 9
    assert not ours.asked


def test_an_answer_is_not_lost_with_the_store_that_it_was_to_be_claimed_in(
    make: Callable[..., Engine],
    store: MemoryStore,
    clock: FakeClock,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = make(j=entry(Once(START + 5 * SECOND, clock)))
    run(engine, clock, 4 * SECOND)

    def away(*args: Any) -> Any:
        raise StoreUnavailableError("redis://", "away")

    with monkeypatch.context() as patch:
        patch.setattr(store, "claim", away)
        run(engine, clock, 10 * SECOND)
    assert not broker.sent
    run(engine, clock, 10 * SECOND)

    assert len(broker.sent) == 1


def test_reading_the_jobs_anew_asks_nothing_earlier(make: Callable[..., Engine], clock: FakeClock) -> None:
    teller = Teller(lambda last: (False, 3600))
    engine = make(j=entry(teller))
    engine.tick()
    clock.advance(2 * SECOND)
    engine.tick()
    engine.context.registry.add_entry("later", entry(60))
    run(engine, clock, MINUTE)

    assert len(teller.asked) == 1


def test_a_fire_while_it_is_paused_is_a_skip(
    make: Callable[..., Engine], store: MemoryStore, clock: FakeClock, broker: Broker
) -> None:
    engine = make(j=entry(Clocked(START + 5 * SECOND, clock)))
    engine.tick()
    store.pause(Pause(name="j", since=START))
    run(engine, clock, MINUTE)

    assert not broker.sent
    assert history(store) == [("skipped", "paused", 1)]


def test_slow_answers_end_a_pass_before_the_lead_is_over(
    make: Callable[..., Engine], clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    def slow(last: datetime) -> Any:
        clock.advance(2 * SECOND)
        return False, 60

    tellers = [Teller(slow) for _ in range(9)]
    engine = make(**{f"j{number}": entry(teller) for number, teller in enumerate(tellers)})
    engine.tick()
    clock.advance(SECOND)
    engine.tick()
    asked = sum(len(teller.asked) for teller in tellers)
    assert 1 <= asked <= 3
    assert "took 2.0 s" in caplog.text
    for _ in range(5):
        engine.tick()

    assert engine.epoch == 1
    assert [len(teller.asked) for teller in tellers] == [1] * 9
