"""Who leads, who stands by, and what the store may do meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from celery_legion.builder import Builder
from celery_legion.engine import Engine, OneShot
from celery_legion.errors import StoreUnavailableError
from celery_legion.run import State
from celery_legion.stores.base import Outcome, Request
from celery_legion.stores.memory import MemoryStore
from celery_legion.target import Target
from tests.unit.engine.bench import MINUTE, START, Broker, FakeClock, history, single_pass


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


def test_a_store_that_forgot_everything_is_told_again_and_no_fire_is_lost(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    engine = make()
    engine.tick()
    empty = MemoryStore(now=clock.now)
    engine.context.use_store(empty)
    clock.advance(MINUTE)
    engine.tick()
    # For longer than its lease it knows nothing, and another may have led meanwhile, who would tell.
    assert broker.sent == []
    for _ in range(6):
        clock.advance(timedelta(seconds=1))
        engine.tick()

    assert [dispatch.fire_time for dispatch in broker.sent] == [START + MINUTE]
    assert history(empty) == [("sent", None, 1)]


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
    assert single_pass(one_shot) == 1
    assert single_pass(another) == 0
    leader.tick()

    assert len(broker.sent) == 1
    assert leader.epoch is not None


def test_a_one_shot_counts_fires_from_the_start_of_its_minute(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker
) -> None:
    from celery.schedules import crontab

    assert single_pass(make(j={"task": "t", "schedule": crontab()})) == 1
    assert [dispatch.fire_time for dispatch in broker.sent] == [START.replace(second=0)]


def test_a_broken_job_that_is_added_later_leaves_the_schedule_as_it_was(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make()
    engine.tick()
    engine.context.registry.add(Builder(Target("t", "schedule.py:1")).name("broken").cron("often"))
    clock.advance(MINUTE)
    engine.tick()

    assert len(broker.sent) == 1
    assert "the schedule stays as it was" in caplog.text


def test_an_entry_that_is_written_wrongly_is_told_once_by_its_name_and_the_others_run(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make(j={"task": "t", "schedule": 60}, slip={"task": "t", "schedule": 60, "args": 16})
    for _ in range(3):
        engine.tick()
        clock.advance(MINUTE)

    assert {dispatch.job for dispatch in broker.sent} == {"j"}
    told = [record for record in caplog.records if "slip" in record.getMessage()]
    assert [(record.levelname, "write (16,)" in record.getMessage()) for record in told] == [("ERROR", True)]


def test_a_push_of_an_entry_that_is_written_wrongly_is_put_aside(
    make: Callable[..., Engine], store: MemoryStore, broker: Broker
) -> None:
    engine = make(slip={"task": "t", "schedule": "often"})
    store.push(Request(id="p", body='{"job": "slip"}'))
    engine.tick()

    assert "written wrongly" in store.asides(10)[0].why
    assert not broker.sent


def test_an_entry_that_is_written_wrongly_is_refused_by_hand(make: Callable[..., Engine]) -> None:
    engine = make(j={"task": "t", "schedule": 60}, slip={"task": "t", "schedule": "often"})
    shot = OneShot(engine.context, lambda dispatch, producer: None)

    refused = shot.refusals(engine.context.registry.jobs.values())
    assert list(refused) == ["slip"]
    assert "'often' is no schedule" in refused["slip"]


class Unspeakable:
    """A user's trigger that fails wherever it is looked at."""

    def next_after(self, moment: datetime) -> datetime | None:
        raise KeyError("no")

    def anchored(self, moment: datetime) -> Unspeakable:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise ValueError("no")

    def __hash__(self) -> int:
        raise TypeError("no")


def test_a_trigger_that_cannot_even_be_shown_is_nobody_elses_trouble(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make()
    engine.context.registry.add(Builder(Target("t", "schedule.py:1")).name("odd").trigger(Unspeakable()))
    engine.tick()
    clock.advance(MINUTE)
    engine.tick()

    assert {dispatch.job for dispatch in broker.sent} == {"j"}
    assert "job odd is left out" in caplog.text


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
