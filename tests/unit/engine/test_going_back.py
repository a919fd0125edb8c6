"""A store that has lost its last moments or all: whoever knows better tells it, and nobody fires before that."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from celery_legion.errors import StoreUnavailableError
from celery_legion.stores.memory import MemoryStore
from celery_legion.stores.memory.marks import Mark
from tests.unit.engine.bench import MINUTE, START, Broker, FakeClock
from tests.unit.engine.pair import Make, Pair, each_minute

SECOND = timedelta(seconds=1)


def test_a_standby_that_takes_over_an_empty_store_first_is_told_by_the_leader(pair: Pair) -> None:
    pair.tick(passes=19)
    pair.lose_all()
    # A fire is due in the next second; the standby is first, and does not know whether it has been sent.
    pair.tick(pair.standby, pair.leader, passes=65)

    assert (pair.standby.epoch, pair.leader.epoch) == (1, None)
    assert len(pair.fires) == 4
    assert each_minute(pair.fires)


def test_a_leader_that_has_sent_a_fire_tells_a_standby_that_would_send_it_again(pair: Pair) -> None:
    pair.lose_all_after_a_fire()
    pair.tick(pair.standby, pair.leader, passes=65)

    assert pair.standby.epoch == 1
    assert len(pair.fires) == 4
    assert each_minute(pair.fires)


def test_where_the_leader_is_dead_nothing_up_to_when_it_was_seen_last_is_sent_again(pair: Pair) -> None:
    pair.tick(passes=10)
    pair.lose_all()
    pair.tick(pair.standby, passes=20)

    assert pair.standby.epoch == 1
    assert len(pair.fires) == 3
    assert each_minute(pair.fires)


def fail_over(pair: Pair) -> None:
    """Let the store be a replica that has a lead that was over, the mark of two minutes ago, and pulses of before."""
    store = pair.leader.context.store
    assert isinstance(store, MemoryStore)
    store.leader = None
    store.marks["j"] = Mark(fire_time=START + MINUTE / 2)
    pair.forget_pulses(5)


def test_a_replica_that_lags_is_told_by_the_leader_that_it_has_forgotten(pair: Pair) -> None:
    fail_over(pair)
    pair.tick(pair.standby, pair.leader, passes=85)

    assert pair.standby.epoch == 2
    assert len(pair.fires) == 4
    assert each_minute(pair.fires)


def test_a_loss_that_the_leader_has_seen_to_is_none_at_the_next_failover(pair: Pair) -> None:
    pair.lose_all()
    pair.tick(pair.leader, pair.standby, passes=10 * 60)
    assert pair.leader.epoch == 1
    # Killed just before a fire; the standby leads when its lease is over.
    pair.tick(passes=18)
    pair.tick(pair.standby, passes=20)

    assert pair.standby.epoch == 2
    assert len(pair.fires) == 13
    assert each_minute(pair.fires)


def test_a_lead_that_the_replica_has_kept_of_a_dead_leader_hides_no_fire(pair: Pair) -> None:
    pair.tick(passes=15)
    pair.forget_pulses(2)
    # The leader died with the store, five seconds before a fire.
    pair.tick(pair.standby, passes=30)

    assert pair.standby.epoch == 2
    assert len(pair.fires) == 3
    assert each_minute(pair.fires)


def test_a_replica_whose_clock_is_behind_is_told_as_well(pair: Pair) -> None:
    fail_over(pair)
    pair.clock.advance(-5 * SECOND)
    pair.tick(pair.standby, pair.leader, passes=85)

    assert pair.standby.epoch == 2
    assert len(pair.fires) == 4
    assert each_minute(pair.fires)


def test_what_could_not_be_told_is_told_in_the_next_pass(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.lose_all_after_a_fire()
    store = pair.leader.context.store
    remind = store.remind
    failures = iter([True, True, False])

    def silent(marks: Any) -> list[str]:
        if next(failures, False):
            raise StoreUnavailableError("memory:", "it is slow")
        return remind(marks)

    monkeypatch.setattr(store, "remind", silent)
    pair.tick(pair.standby, pair.leader, passes=65)

    assert pair.standby.epoch == 1
    assert len(pair.fires) == 4
    assert each_minute(pair.fires)


def test_a_leader_that_waits_for_the_broker_while_the_store_forgets_is_listened_to(pair: Pair) -> None:
    pair.lose_all_after_a_fire()
    pair.tick(pair.standby, passes=5)
    pair.tick(pair.leader, pair.standby, passes=60)

    assert pair.standby.epoch == 1
    assert len(pair.fires) == 4
    assert each_minute(pair.fires)


def test_one_that_led_before_another_does_not_tell_where_jobs_stood_then(pair: Pair) -> None:
    first, second = pair.leader, pair.standby
    pair.tick(second, passes=20)
    assert second.epoch == 2
    pair.tick(passes=120)
    assert (first.epoch, len(pair.fires)) == (None, 5)
    # The last that it does is to see the second one lead.
    first.tick()
    pair.lose_all()
    # The second one is dead.
    pair.tick(first, passes=60)

    assert first.epoch == 1
    assert each_minute(pair.fires)
    assert len(pair.fires) == 6


def test_an_interval_keeps_its_rhythm_with_one_that_has_led(make: Make, clock: FakeClock, broker: Broker) -> None:
    pair = Pair(make, clock, broker)
    pair.leader, pair.standby = (make(guarded=False, j={"task": "t", "schedule": 60}) for _ in range(2))
    pair.tick(passes=5)
    pair.tick(pair.standby, passes=20)
    pair.tick(passes=100)
    assert (pair.leader.epoch, pair.standby.epoch) == (None, 2)
    pair.lose_all()
    # The one that led last is dead.
    pair.tick(pair.leader, passes=100)

    assert pair.leader.epoch == 1
    assert pair.fires == [START + SECOND + number * MINUTE for number in (1, 2, 3)]


@pytest.mark.parametrize("lead", ["kept", "lost"])
def test_fires_that_the_store_has_forgotten_are_not_sent_again(
    make: Make,
    clock: FakeClock,
    broker: Broker,
    store: MemoryStore,
    caplog: pytest.LogCaptureFixture,
    lead: str,
) -> None:
    leader = make(guarded=False, j={"task": "t", "schedule": 60})
    leader.tick()
    for _ in range(3):
        clock.advance(MINUTE)
        leader.tick()
    before = list(broker.ids)
    fires = [dispatch.fire_time for dispatch in broker.sent]

    # What the replica has: the mark of two minutes ago, no runs and no locks.
    clock.advance(timedelta(seconds=1))
    for table in (store.all_runs, store.records, store.unconfirmed, store.queued, store.done):
        table.clear()
    store.marks["j"] = Mark(fire_time=START + MINUTE)
    if lead == "lost":
        store.resign(leader.owner)
    leader.tick()
    assert broker.ids == before
    clock.advance(MINUTE)
    leader.tick()
    clock.advance(timedelta(seconds=1))
    leader.tick()

    sent = [dispatch.fire_time for dispatch in broker.sent]
    assert sent == [*fires, START + 4 * MINUTE]
    assert "the store has " in caplog.text


def test_nothing_is_lost_where_a_lease_is_over_or_a_lead_is_handed_on(
    pair: Pair, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    pair.leader.close()
    pair.tick(pair.standby, passes=3)
    # Both stand still for longer than their leases, and others notice.
    for _ in range(3):
        pair.clock.advance(MINUTE)
        store.schedulers()
        pair.tick(passes=2)
    pair.clock.advance(MINUTE)
    store.schedulers_seen.clear()
    pair.tick(passes=2)
    # The clock is set back.
    pair.clock.advance(-MINUTE)
    pair.tick(passes=2)

    assert "has lost" not in caplog.text
