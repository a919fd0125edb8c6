"""Scheduling passes over the memory store: time is an argument, and a list is the broker."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from celery_legion.context import Context
from celery_legion.engine import Dispatch, Engine
from celery_legion.engine import passes as passes_module
from celery_legion.errors import BrokerUnavailableError, StoreUnavailableError
from celery_legion.run import Kind, State
from celery_legion.stores.base import Granted, Outcome, Pause, Request
from celery_legion.stores.memory import MemoryStore

START = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class FakeClock:
    def __init__(self) -> None:
        self.moment = START

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def advance(self, span: timedelta) -> None:
        self.moment += span


class Broker:
    """Takes what is sent; ``down`` makes it fail, ``poisoned`` names jobs whose message cannot be made."""

    def __init__(self) -> None:
        self.sent: list[Dispatch] = []
        self.down = False
        self.poisoned: set[str] = set()

    @property
    def ids(self) -> list[str]:
        return [dispatch.run_id for dispatch in self.sent]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker()

    class FakePublisher:
        """The publisher's contract over the list."""

        def __init__(self, app: Any, timeout: timedelta, monotonic: Callable[[], float]) -> None:
            self.broken = False
            self.monotonic, self.not_before = monotonic, 0.0

        def ready(self) -> bool:
            return self.monotonic() >= self.not_before

        def retry_in(self) -> float:
            return max(0.0, self.not_before - self.monotonic())

        def publish(self, dispatches: list[Dispatch], send: Any) -> list[str]:
            if made.down:
                self.broken, self.not_before = True, self.monotonic() + 1
                raise BrokerUnavailableError("amqp://", "refused")
            self.broken = False
            for dispatch in dispatches:
                dispatch.accepted = dispatch.job not in made.poisoned
                dispatch.error = None if dispatch.accepted else TypeError("no JSON")
                if dispatch.accepted:
                    made.sent.append(dispatch)
            return [dispatch.run_id for dispatch in dispatches if dispatch.accepted]

    monkeypatch.setattr(passes_module, "Publisher", FakePublisher)
    return made


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(now=clock.now)


@pytest.fixture
def make(clock: FakeClock, broker: Broker, store: MemoryStore) -> Callable[..., Engine]:
    def engine(guarded: bool = True, main: str = "shop", **entries: Any) -> Engine:
        app = Celery(main, broker="redis://localhost:6379/0", set_as_current=False)
        app.conf.result_expires = None
        app.conf.beat_schedule = entries or {"j": {"task": "t", "schedule": 60}}
        context = Context(app, clock)
        context.registry.guarded = guarded
        context.use_store(store)
        made = Engine(context, lambda dispatch, producer: None)
        # An epoch of its own for each: owners differ by more than the process in these tests.
        made.owner = f"{made.owner}:{id(made)}"
        return made

    return engine


def history(store: MemoryStore, job: str = "j") -> list[tuple[str, str | None, int]]:
    return [(record.state.value, record.reason, record.count) for record in store.runs(job, 50)]


def test_nothing_of_the_past_fires_at_first_sight_and_an_interval_counts_from_it(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker
) -> None:
    engine = make()

    assert engine.tick() == pytest.approx(1.0)
    assert broker.sent == []
    clock.advance(MINUTE)
    engine.tick()
    assert [dispatch.fire_time for dispatch in broker.sent] == [START + MINUTE]


def test_the_delay_is_the_time_to_the_next_fire(make: Callable[..., Engine], clock: FakeClock) -> None:
    engine = make()
    engine.tick()
    clock.advance(MINUTE - timedelta(milliseconds=250))

    assert engine.tick() == pytest.approx(0.25)


def test_a_fire_while_its_run_is_not_over_is_skipped(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make()
    engine.tick()
    for _ in range(3):
        clock.advance(MINUTE)
        engine.tick()

    assert len(broker.sent) == 1
    # Nobody consumes the queue, and that is what is said.
    assert history(store) == [("skipped", "no_worker", 2), ("sent", None, 1)]


def test_a_paused_job_is_skipped_with_its_reason(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make()
    engine.tick()
    store.pause(Pause(name="j", since=clock.now()))
    clock.advance(MINUTE)
    engine.tick()
    store.resume("j")
    clock.advance(MINUTE)
    engine.tick()

    assert history(store) == [("sent", None, 1), ("skipped", "paused", 1)]


def test_a_second_engine_stands_by_and_takes_over_when_the_lease_is_over(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker
) -> None:
    first, second = make(), make()
    first.tick()
    assert second.tick() <= 1.0
    assert second.epoch is None

    clock.advance(timedelta(seconds=61))
    second.tick()
    first.tick()

    assert (first.epoch, second.epoch) == (None, 2)
    assert len(broker.sent) == 1


def test_a_deposed_leader_claims_nothing_more(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    first, second = make(), make()
    first.tick()
    # The first one stops in the middle of a pass: its lease runs out between its pulse and its claim.
    claim = store.claim

    def paused_claim(claims: Any, owner: str, epoch: int | None, lead_ttl: timedelta) -> Any:
        store.claim = claim  # type: ignore[method-assign]
        clock.advance(timedelta(seconds=11))
        second.tick()
        return claim(claims, owner, epoch, lead_ttl)

    clock.advance(MINUTE)
    first.tick()
    clock.advance(MINUTE)
    store.end(broker.ids[0], 0, Outcome(state=State.SUCCEEDED), store.retention)
    store.claim = paused_claim  # type: ignore[method-assign]
    first.tick()

    assert first.epoch is None
    assert len(broker.ids) == len(set(broker.ids)) == 2


def test_what_the_broker_did_not_take_is_sent_once_it_is_back_under_the_same_id(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make()
    engine.tick()
    broker.down = True
    clock.advance(MINUTE)
    engine.tick()
    [record] = store.runs("j", 5)
    assert record.state is State.CLAIMED

    clock.advance(timedelta(seconds=2))
    engine.tick()
    broker.down = False
    clock.advance(timedelta(seconds=2))
    engine.tick()

    assert broker.ids == [record.id]
    assert history(store) == [("sent", None, 1)]


def test_the_next_leader_sends_what_a_dead_one_claimed(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker
) -> None:
    dead, heir = make(), make()
    dead.tick()
    broker.down = True
    clock.advance(MINUTE)
    dead.tick()
    broker.down = False
    clock.advance(timedelta(seconds=11))
    heir.tick()

    assert len(broker.ids) == 1


def test_a_run_that_waited_too_long_for_the_broker_is_missed(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make(j={"task": "t", "schedule": 7 * 24 * 3600})
    engine.tick()
    broker.down = True
    clock.advance(timedelta(days=7))
    engine.tick()
    broker.down = False
    clock.advance(timedelta(days=1, seconds=1))
    engine.tick()

    assert broker.sent == []
    assert history(store) == [("missed", "broker", 1)]


def test_a_message_that_cannot_be_made_fails_its_run_and_hurts_no_other(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make(bad={"task": "t", "schedule": 60}, good={"task": "t", "schedule": 60})
    engine.tick()
    broker.poisoned = {"bad"}
    clock.advance(MINUTE)
    engine.tick()

    assert [dispatch.job for dispatch in broker.sent] == ["good"]
    assert history(store, "bad") == [("failed", "unsendable", 1)]


def test_a_silent_store_makes_a_standby_and_everything_due_runs_once_afterwards(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make()
    engine.tick()
    pulse = store.pulse

    def silent(*args: Any) -> Any:
        raise StoreUnavailableError("redis://x", "timed out")

    store.pulse = silent  # type: ignore[method-assign]
    for _ in range(3):
        clock.advance(MINUTE)
        assert engine.tick() == pytest.approx(1.0)
    assert (engine.epoch, broker.sent) == (None, [])
    store.pulse = pulse  # type: ignore[method-assign]
    engine.tick()

    assert len(broker.sent) == 1
    assert history(store) == [("sent", None, 1), ("missed", "catch_up", 2)]


def test_a_lost_confirmation_is_made_up_for_without_sending_again(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make()
    engine.tick()
    sent = store.sent

    def silent(ids: Any) -> None:
        raise StoreUnavailableError("redis://x", "timed out")

    store.sent = silent  # type: ignore[method-assign]
    clock.advance(MINUTE)
    engine.tick()
    store.sent = sent  # type: ignore[method-assign]
    clock.advance(timedelta(seconds=6))
    engine.tick()

    assert len(broker.sent) == 1
    assert history(store) == [("sent", None, 1)]


def test_a_store_that_forgot_everything_is_told_again_and_no_fire_is_lost(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make()
    engine.tick()
    empty = MemoryStore(now=clock.now)
    engine.context.use_store(empty)
    clock.advance(MINUTE)
    engine.tick()

    assert [dispatch.fire_time for dispatch in broker.sent] == [START + MINUTE]
    assert history(empty) == [("sent", None, 1)]


def test_a_push_runs_once_however_often_it_is_repeated_and_moves_no_mark(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make()
    engine.tick()
    for _ in range(3):
        store.push(Request(id="p1", body='{"job": "j"}'))
    engine.tick()
    engine.tick()

    assert broker.ids == ["p1"]
    assert broker.sent[0].header is not None
    assert broker.sent[0].header.kind is Kind.PUSHED
    clock.advance(MINUTE)
    store.end("p1", 0, Outcome(state=State.SUCCEEDED), store.retention)
    engine.tick()
    assert len(broker.sent) == 2


@pytest.mark.parametrize("body", ["", "[]", "nonsense", '{"job": 5}', '{"job": "nobody"}', "[" * 5000])
def test_a_push_that_makes_no_sense_is_logged_and_stops_nothing(
    make: Callable[..., Engine], broker: Broker, store: MemoryStore, caplog: pytest.LogCaptureFixture, body: str
) -> None:
    engine = make()
    engine.tick()
    store.push(Request(id="x", body=body))
    store.push(Request(id="p1", body='{"job": "j"}'))
    engine.tick()

    assert broker.ids == ["p1"]
    assert "put aside" in caplog.text


def test_without_workers_that_report_runs_are_not_watched_and_may_overlap(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make(guarded=False)
    engine.tick()
    for _ in range(2):
        clock.advance(MINUTE)
        engine.tick()

    assert len(broker.sent) == 2
    assert [dispatch.header for dispatch in broker.sent] == [None, None]
    assert history(store) == [("sent", "unwatched", 1)] * 2
    assert store.locks() == []


def test_another_apps_leader_is_refused_loudly(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    make(main="shop").tick()
    other = make(main="warehouse")
    clock.advance(MINUTE)
    make(main="shop").tick()
    other.tick()

    assert "legion_key_prefix" in caplog.text
    assert other.epoch is None


def test_a_one_shot_beside_a_leader_claims_each_fire_once(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker
) -> None:
    leader, one_shot, another = make(), make(), make()
    leader.tick()
    clock.advance(MINUTE)
    assert one_shot.run_once() == 1
    assert another.run_once() == 0
    leader.tick()

    assert len(broker.sent) == 1
    assert leader.epoch is not None


def test_a_one_shot_counts_fires_from_the_start_of_its_minute(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker
) -> None:
    from celery.schedules import crontab

    assert make(j={"task": "t", "schedule": crontab()}).run_once() == 1
    assert [dispatch.fire_time for dispatch in broker.sent] == [START.replace(second=0)]


def test_a_burst_is_claimed_in_parts_and_the_lead_renewed_between_them(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make(**{f"j{n}": {"task": "t", "schedule": 60} for n in range(2500)})
    engine.tick()
    clock.advance(MINUTE)
    verdicts: list[int] = []
    claim = store.claim

    def counting(claims: Any, *args: Any) -> Any:
        made = claim(claims, *args)
        verdicts.append(sum(verdict.granted is Granted.RUN for verdict in made))
        return made

    store.claim = counting  # type: ignore[method-assign]
    assert engine.tick() == 0.0
    assert len(broker.sent) == 2000
    engine.tick()

    assert len(broker.sent) == 2500
    assert max(verdicts) == 200


def test_a_broken_job_that_is_added_later_leaves_the_schedule_as_it_was(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make()
    engine.tick()
    engine.context.registry.add_entry("broken", {"task": "t", "schedule": "often"})
    clock.advance(MINUTE)
    engine.tick()

    assert len(broker.sent) == 1
    assert "the schedule stays as it was" in caplog.text


def test_a_job_that_is_added_later_is_scheduled(make: Callable[..., Engine], clock: FakeClock, broker: Broker) -> None:
    engine = make()
    engine.tick()
    engine.context.registry.add_entry("later", {"task": "t", "schedule": 30})
    engine.tick()
    clock.advance(timedelta(seconds=30))
    engine.tick()

    assert [dispatch.job for dispatch in broker.sent] == ["later"]


def test_closing_resigns_and_may_happen_twice(make: Callable[..., Engine], broker: Broker) -> None:
    first, second = make(), make()
    first.tick()
    first.close()
    first.close()
    second.tick()

    assert second.epoch == 2


def test_no_error_of_a_pass_leaves_the_tick(make: Callable[..., Engine], store: MemoryStore) -> None:
    engine = make()

    def broken(*args: Any) -> Any:
        raise ZeroDivisionError

    store.pulse = broken  # type: ignore[method-assign]

    assert engine.tick() == pytest.approx(1.0)
