"""What a scheduler that lives knows of a store that has lost its memory, and what the next leader makes of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from celery.schedules import crontab

from celery_legion.engine import Engine
from celery_legion.engine.witness import Witness
from celery_legion.errors import StoreUnavailableError
from celery_legion.stores.base import Pause, Pulse
from tests.unit.engine.bench import MINUTE, START, Broker, FakeClock
from tests.unit.engine.pair import SECOND, Make, Pair, each_minute


def crashed(*_: object) -> None:
    raise StoreUnavailableError("memory:", "it crashed")


class AheadClock:
    """A host's clock that is two hours ahead of the store's."""

    def __init__(self, right: FakeClock) -> None:
        self.right = right

    def now(self) -> datetime:
        return self.right.now() + timedelta(hours=2)

    def monotonic(self) -> float:
        return self.right.monotonic()


def at_second(pair: Pair, second: int, *engines: Engine) -> None:
    """Let time pass until *second* of a minute."""
    pair.tick(*engines)
    while pair.clock.now().second != second:
        pair.tick(*engines)


def test_fires_that_a_living_leader_had_not_claimed_yet_are_not_taken_for_sent(
    make: Make, clock: FakeClock, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair(make, clock, broker)
    jobs = {f"j{number}": {"task": "t", "schedule": crontab()} for number in range(500)}
    pair.leader, pair.standby = (make(guarded=False, **jobs) for _ in range(2))
    pair.tick(passes=89)
    assert len(pair.fires) == 500
    store = pair.leader.context.store
    claim, calls = store.claim, Counter[str]()

    def crash_at_the_second(*args: Any) -> Any:
        calls["claim"] += 1
        if calls["claim"] == 2:
            # The first claim has renewed the lead, and the standby sees it.
            clock.advance(SECOND)
            pair.standby.tick()
            pair.lose_all()
            pair.standby.tick()
            crashed()
        return claim(*args)

    monkeypatch.setattr(store, "claim", crash_at_the_second)
    pair.tick(pair.leader)
    pair.tick(pair.standby, pair.leader, passes=100)

    assert calls["claim"] == 2
    assert Counter((dispatch.job, dispatch.fire_time) for dispatch in broker.sent) == {
        (job, START + MINUTE * (number + 0.5)): 1 for job in jobs for number in range(3)
    }


def test_a_fire_is_not_lost_with_the_store_between_pulse_and_claim(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.tick(passes=19)

    def crash(*_: object) -> None:
        pair.standby.tick()
        pair.lose_all()
        pair.standby.tick()
        crashed()

    monkeypatch.setattr(pair.leader.context.store, "claim", crash)
    pair.tick(pair.leader)
    pair.tick(pair.standby, pair.leader, passes=65)

    assert len(pair.fires) == 4
    assert each_minute(pair.fires)


def test_one_that_was_cut_off_listens_to_who_led_meanwhile(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.tick(passes=10)
    pair.lose_all()
    with monkeypatch.context() as cut:
        cut.setattr(pair.leader.context.store, "remind", crashed)
        pair.tick(pair.leader)
    pair.tick(pair.standby, passes=20)
    assert pair.standby.epoch == 2
    at_second(pair, 1, pair.standby)
    before = len(pair.fires)
    pair.lose_all()
    pair.tick(pair.leader, pair.standby, passes=60)

    assert len(pair.fires) == before + 1
    assert each_minute(pair.fires)


def test_one_that_has_told_tells_again_after_the_next_loss(pair: Pair) -> None:
    pair.lose_all_after_a_fire()
    pair.tick(pair.standby, pair.leader, passes=2)
    pair.lose_all()
    pair.tick(pair.standby, pair.leader, passes=60)

    assert len(pair.fires) == 4
    assert each_minute(pair.fires)


def test_a_leader_that_never_came_to_claim_anything_has_claimed_nothing(
    make: Make, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = make(guarded=False, j={"task": "t", "schedule": crontab()})
    pair.tick(pair.leader, pair.standby, third)
    at_second(pair, 55, pair.leader, pair.standby, third)
    # The leader dies before a fire; the next one leads after it, and cannot load.
    with monkeypatch.context() as slow:
        slow.setattr(pair.standby.context.store, "sight", crashed)
        pair.tick(pair.standby, third, passes=12)
    pair.lose_all()
    third.context.use_store(pair.standby.context.store)
    pair.tick(third, pair.standby, passes=60)

    assert len(pair.fires) >= 2
    assert each_minute(pair.fires)


def test_a_store_that_fails_now_and_then_keeps_nobody_listening_for_ever(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.lose_all_after_a_fire()
    store, standby = pair.standby.context.store, pair.standby.owner
    pulse, calls = store.pulse, Counter[str]()

    def flaky(owner: str, *args: Any) -> Pulse:
        calls[owner] += 1
        if owner == standby and calls[owner] % 2 == 0:
            crashed()
        return pulse(owner, *args)

    monkeypatch.setattr(store, "pulse", flaky)
    pair.tick(pair.standby, pair.leader, passes=310)

    assert len(pair.fires) == 8
    assert each_minute(pair.fires)


def test_a_leader_with_a_shorter_lease_has_seen_to_a_loss_as_well(make: Make, clock: FakeClock, broker: Broker) -> None:
    pair = Pair(make, clock, broker)
    every, rare = {"task": "t", "schedule": crontab()}, {"task": "rare", "schedule": crontab(minute="30")}
    pair.leader, pair.standby = make(guarded=False, j=every), make(guarded=False, j=every, rare=rare)
    short = replace(pair.leader.config, leader_lease=6 * SECOND)
    pair.leader.config = pair.leader._dispatcher.config = short
    pair.leader._witness = Witness(short.leader_lease, 5.5)
    pair.tick(passes=20)
    pair.lose_all()
    pair.tick(pair.leader, pair.standby, passes=3600)
    pair.leader.close()
    pair.tick(pair.standby, passes=15)

    # The job is new to the store: its fires before it was seen are not sent.
    assert pair.standby.epoch is not None
    assert not any(dispatch.job == "rare" for dispatch in broker.sent)


def test_a_paused_job_stays_so_when_the_store_forgets_while_its_leader_lives(pair: Pair) -> None:
    now = pair.clock.now()
    store = pair.leader.context.store
    store.pause(Pause(name="j", since=now))
    store.pause(Pause(name="*", since=now, until=now + 5 * SECOND))
    pair.tick(passes=60)
    before = len(pair.fires)
    pair.lose_all()
    pair.tick(pair.leader, pair.standby, passes=20)
    pair.lose_all()
    pair.tick(pair.standby, pair.leader, passes=100)

    assert pair.standby.epoch is not None
    assert list(pair.standby.context.store.pauses()) == ["j"]
    assert len(pair.fires) == before


def test_one_that_was_cut_off_twice_listens_twice(pair: Pair) -> None:
    at_second(pair, 10)
    pair.tick(pair.standby, passes=80)
    assert pair.standby.epoch == 2
    before = len(pair.fires)
    for _ in range(2):
        pair.lose_all()
        pair.tick(pair.leader)
    pair.tick(pair.leader, pair.standby, passes=20)

    assert len(pair.fires) == before
    assert each_minute(pair.fires)


def test_who_led_before_a_newcomer_listens_to_it_at_the_next_loss(make: Make, pair: Pair) -> None:
    newcomer = make(guarded=False, j={"task": "t", "schedule": crontab()})
    at_second(pair, 10, pair.leader)
    pair.lose_all(newcomer)
    pair.tick(newcomer, passes=2)
    at_second(pair, 59, newcomer, pair.leader)
    assert newcomer.epoch == 1
    pair.tick(newcomer)
    before = len(pair.fires)
    pair.lose_all(newcomer)
    pair.tick(pair.leader, newcomer, passes=30)

    assert len(pair.fires) == before
    assert each_minute(pair.fires)


def test_what_was_claimed_under_an_earlier_lead_ends_no_loss(make: Make, pair: Pair) -> None:
    third = make(guarded=False, j={"task": "t", "schedule": crontab()})
    pair.tick(pair.leader, pair.standby, third)
    at_second(pair, 50, pair.leader, pair.standby, third)
    pair.lose_all(third)
    # The leader stands still for longer than the next one lives; it dies while it listens, too.
    pair.tick(pair.standby, third)
    pair.standby.close()
    pair.clock.advance(7 * SECOND)
    pair.leader.tick()
    assert pair.leader._witness.listening() > 0
    pair.tick(third, passes=90)

    assert third.epoch is not None
    assert len(pair.fires) >= 4
    assert each_minute(pair.fires)


def test_a_pause_that_was_lifted_while_one_was_cut_off_stays_so(pair: Pair) -> None:
    pair.leader.context.store.pause(Pause(name="j", since=pair.clock.now()))
    at_second(pair, 10)
    pair.tick(pair.standby, passes=20)
    assert pair.standby.epoch == 2
    pair.standby.context.store.resume("j")
    pair.tick(pair.standby, passes=100)
    pair.lose_all()
    pair.tick(pair.leader, pair.standby, passes=10)

    assert pair.leader.epoch == 1
    assert not pair.leader.context.store.pauses()


@pytest.mark.parametrize(("away", "told"), [(8, ["j"]), (10, [])])
def test_pauses_are_told_by_who_cannot_have_missed_another_leader(pair: Pair, away: int, told: list[str]) -> None:
    pair.leader.context.store.pause(Pause(name="j", since=pair.clock.now()))
    at_second(pair, 40)
    pair.lose_all()
    pair.clock.advance(away * SECOND)
    pair.tick(pair.standby, pair.leader)

    assert pair.standby.epoch is None
    assert list(pair.leader.context.store.pauses()) == told


def test_a_newcomer_on_an_emptied_store_is_told_pauses_too(make: Make, pair: Pair) -> None:
    newcomer = make(guarded=False, j={"task": "t", "schedule": crontab()})
    pair.leader.context.store.pause(Pause(name="j", since=pair.clock.now()))
    at_second(pair, 40)
    pair.lose_all(newcomer)
    pair.tick(newcomer, passes=2)
    pair.tick(newcomer, pair.leader)

    assert newcomer.epoch == 1
    assert list(newcomer.context.store.pauses()) == ["j"]
    # It is told once: what is lifted now stays so.
    newcomer.context.store.resume("j")
    pair.tick(newcomer, pair.leader, passes=5)
    assert not newcomer.context.store.pauses()


def test_a_clock_that_is_set_back_between_pulse_and_claim_is_no_loss(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    at_second(pair, 59)
    store = pair.leader.context.store
    claim = store.claim

    def claim_earlier(*args: Any) -> Any:
        pair.clock.advance(-SECOND / 5)
        return claim(*args)

    with monkeypatch.context() as set_back:
        set_back.setattr(store, "claim", claim_earlier)
        pair.clock.advance(SECOND)
        pair.leader.tick()
    pair.tick()

    assert "has lost" not in caplog.text


def test_pauses_are_over_by_the_stores_clock(pair: Pair) -> None:
    now = pair.clock.now()
    pair.leader.context.store.pause(Pause(name="j", since=now, until=now + MINUTE))
    pair.tick(passes=3)
    ahead = AheadClock(pair.clock)
    pair.leader.context.clock = ahead
    pair.leader._clocks._clock = ahead
    pair.tick(pair.leader, passes=3)
    pair.lose_all()
    pair.tick(pair.leader)

    assert list(pair.leader.context.store.pauses()) == ["j"]
