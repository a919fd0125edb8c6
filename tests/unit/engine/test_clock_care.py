"""Clocks that step and drift under an engine: no fire is early, lost, doubled or misdated, and it is said."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from celery.schedules import crontab

from celery_legion.engine import Engine
from celery_legion.run import Record
from celery_legion.stores.memory import MemoryStore
from tests.unit.engine.bench import MINUTE, START, Broker, FakeClock, single_pass

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
STEPS = [-HOUR, -90 * SECOND, 90 * SECOND, HOUR]
EACH_MINUTE = {"task": "t", "schedule": crontab()}


class Clocks(FakeClock):
    """The host's wall clock is ``off`` from ``moment``, which is the true time; so is the store's."""

    def __init__(self) -> None:
        super().__init__()
        self.off = self.store_off = timedelta(0)
        self.reads = 0
        self.after_read: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        self.reads += 1
        moment = self.moment + self.off
        self.after_read()
        return moment

    def in_store(self) -> datetime:
        return self.moment + self.store_off


@pytest.fixture
def clock() -> Clocks:
    return Clocks()


@pytest.fixture
def store(clock: Clocks) -> MemoryStore:
    return MemoryStore(now=clock.in_store)


@pytest.fixture
def engine(make: Callable[..., Engine]) -> Engine:
    made = make(guarded=False, j=EACH_MINUTE)
    made.tick()
    return made


def work(engine: Engine, clock: Clocks, broker: Broker, span: timedelta) -> None:
    """Pass each second; nothing may be sent before its time."""
    for _ in range(int(span.total_seconds())):
        clock.advance(SECOND)
        before = len(broker.sent)
        engine.tick()
        assert all(sent.fire_time <= clock.moment for sent in broker.sent[before:])


def minutes_since_start(clock: Clocks) -> list[datetime]:
    first = START.replace(second=0)
    return [first + number * MINUTE for number in range(1, (clock.moment - first) // MINUTE + 1)]


def fires(broker: Broker) -> list[datetime]:
    return [dispatch.fire_time for dispatch in broker.sent]


@pytest.mark.parametrize("step", STEPS)
def test_a_step_of_the_leaders_host_and_back_moves_no_fire(
    engine: Engine, clock: Clocks, broker: Broker, step: timedelta
) -> None:
    work(engine, clock, broker, 3 * MINUTE)
    clock.off = step
    work(engine, clock, broker, 5 * MINUTE)
    clock.off = timedelta(0)
    work(engine, clock, broker, 3 * MINUTE)

    assert fires(broker) == minutes_since_start(clock)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_of_the_stores_clock_and_back_moves_no_fire(
    engine: Engine, clock: Clocks, broker: Broker, step: timedelta
) -> None:
    work(engine, clock, broker, 3 * MINUTE)
    clock.store_off = step
    work(engine, clock, broker, 5 * MINUTE)
    clock.store_off = timedelta(0)
    work(engine, clock, broker, 3 * MINUTE)

    assert fires(broker) == minutes_since_start(clock)


def test_a_clock_that_is_set_between_passes_that_follow_at_once_seems_not_wrong(
    engine: Engine, clock: Clocks, caplog: pytest.LogCaptureFixture
) -> None:
    clock.advance(SECOND)
    engine.tick()
    # The store's is set a moment later, as by an NTP client of its own.
    clock.off = HOUR
    for _ in range(3):
        clock.advance(SECOND / 100)
        engine.tick()
    clock.store_off = HOUR
    clock.advance(SECOND)
    engine.tick()
    assert "ahead of the store's" not in caplog.text

    clock.off = 2 * HOUR
    for _ in range(2):
        clock.advance(SECOND)
        engine.tick()
    assert "ahead of the store's" in caplog.text


def test_a_host_that_runs_at_double_speed_moves_no_fire(engine: Engine, clock: Clocks, broker: Broker) -> None:
    for _ in range(300):
        clock.off += SECOND
        work(engine, clock, broker, SECOND)

    assert fires(broker) == minutes_since_start(clock)


def test_a_take_over_from_a_host_with_a_wrong_clock_loses_nothing(
    make: Callable[..., Engine], clock: Clocks, broker: Broker
) -> None:
    wrong, right = make(guarded=False, j=EACH_MINUTE), make(guarded=False, j=EACH_MINUTE)
    clock.off = HOUR
    wrong.tick()
    work(wrong, clock, broker, 3 * MINUTE)
    wrong.close()
    clock.off = timedelta(0)
    work(right, clock, broker, 3 * MINUTE)

    assert fires(broker) == minutes_since_start(clock)


def test_a_machine_set_back_sends_nothing_again(
    engine: Engine, clock: Clocks, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    work(engine, clock, broker, 5 * MINUTE)
    sent = fires(broker)
    clock.off = clock.store_off = -3 * MINUTE
    for _ in range(180):
        clock.advance(SECOND)
        assert engine.tick() > 0

    assert fires(broker) == sent
    assert "the time went back by 180.0 s" in caplog.text
    clock.advance(MINUTE)
    engine.tick()
    assert fires(broker)[-1] == sent[-1] + MINUTE


def test_a_machine_that_slept_wakes_into_the_catch_up_policy(
    engine: Engine, clock: Clocks, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    work(engine, clock, broker, MINUTE)
    sent = len(broker.sent)
    clock.off = clock.store_off = HOUR
    engine.tick()

    assert fires(broker)[sent:] == [(clock.moment + HOUR).replace(second=0)]
    assert "the time went ahead by 3600.0 s" in caplog.text


@pytest.mark.parametrize("step", [*STEPS, timedelta(seconds=0.4)])
def test_a_step_after_the_passs_one_look_at_the_clock_changes_neither_it_nor_the_delay(
    engine: Engine, clock: Clocks, broker: Broker, step: timedelta
) -> None:
    clock.advance(timedelta(seconds=29.75))
    clock.reads = 0

    def jump() -> None:
        clock.off = step

    clock.after_read = jump

    assert engine.tick() == pytest.approx(0.25)
    assert clock.reads == 1
    clock.advance(timedelta(seconds=0.25))
    engine.tick()
    assert fires(broker) == minutes_since_start(clock)


def test_a_machine_that_falls_asleep_in_the_middle_of_a_look_at_the_clocks_fires_once(
    engine: Engine, clock: Clocks, broker: Broker, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    work(engine, clock, broker, MINUTE)
    clock.off = HOUR
    engine.tick()
    clock.store_off = HOUR
    engine.tick()

    assert fires(broker) == [START.replace(second=0) + MINUTE, (clock.moment + HOUR).replace(second=0)]
    assert "clock (" not in caplog.text


def test_what_a_pass_takes_shortens_the_delay(
    engine: Engine, clock: Clocks, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_reap(limit: int) -> list[Record]:
        clock.advance(timedelta(seconds=0.5))
        return []

    monkeypatch.setattr(store, "reap", slow_reap)
    clock.advance(timedelta(seconds=29.25))

    assert engine.tick() == pytest.approx(0.25)


def test_clocks_that_differ_are_named_twice_a_minute_at_most_and_once_when_they_agree_again(
    engine: Engine, clock: Clocks, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    clock.off = 90 * SECOND
    work(engine, clock, broker, MINUTE)
    clock.off = timedelta(0)
    work(engine, clock, broker, MINUTE)

    said = [record.getMessage() for record in caplog.records if "clock" in record.getMessage()]
    assert said == [
        "this host's clock (2026-03-02T12:02:02.000Z) is 90.0 s ahead of the store's (2026-03-02T12:00:32.000Z): "
        "fires follow the store's; set the clock of whichever is wrong right (NTP)",
        "this host's clock (2026-03-02T12:02:32.000Z) is 90.0 s ahead of the store's (2026-03-02T12:01:02.000Z): "
        "fires follow the store's; set the clock of whichever is wrong right (NTP)",
        "the clocks of this host and of the store agree again",
    ]


def test_a_stores_clock_that_stepped_is_named_as_the_wrong_one(
    engine: Engine, clock: Clocks, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    clock.store_off = HOUR
    work(engine, clock, broker, 2 * SECOND)

    assert "is 3600.0 s behind the store's (2026-03-02T13:00:32.000Z): fires follow the host's" in caplog.text


def test_a_standby_says_that_its_clock_is_wrong(
    engine: Engine, make: Callable[..., Engine], clock: Clocks, caplog: pytest.LogCaptureFixture
) -> None:
    standby = make(guarded=False, j=EACH_MINUTE)
    clock.off = -HOUR
    standby.tick()
    assert "clock" not in caplog.text
    clock.advance(SECOND)
    standby.tick()

    assert standby.epoch is None
    assert "is 3600.0 s behind the store's" in caplog.text


def test_a_leader_says_which_jobs_wait_for_the_time_to_reach_their_marks(
    make: Callable[..., Engine], clock: Clocks, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    make(guarded=False, j=EACH_MINUTE).tick()
    clock.off = clock.store_off = -HOUR
    store.leader = None
    make(guarded=False, j=EACH_MINUTE).tick()

    assert "1 jobs (j, ...) have fired up to a time that is to come" in caplog.text


@pytest.mark.parametrize("step", STEPS)
def test_a_one_shot_on_a_host_with_a_wrong_clock_goes_by_the_stores(
    engine: Engine, clock: Clocks, broker: Broker, step: timedelta
) -> None:
    clock.off = step
    clock.advance(30 * SECOND)

    assert single_pass(engine) == 1
    assert single_pass(engine) == 0
    assert fires(broker) == [clock.moment]
