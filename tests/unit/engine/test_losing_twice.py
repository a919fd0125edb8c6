"""A store that loses its memory while a loss is being seen to, or is away, or its clock was set."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from celery.schedules import crontab

from celery_legion.engine import Engine
from celery_legion.errors import StoreUnavailableError
from tests.unit.engine.bench import MINUTE
from tests.unit.engine.pair import Pair, each_minute


def hand_over(pair: Pair) -> None:
    """Let the standby have led before, and the leader lead again for minutes."""
    pair.tick(pair.standby, passes=20)
    pair.tick(pair.leader, passes=20)
    pair.tick(passes=200)
    assert pair.leader.epoch is not None
    assert pair.standby.epoch is None


def test_one_that_only_listens_is_no_leader_to_the_next_loss(pair: Pair) -> None:
    hand_over(pair)
    # Just after a fire.
    while (pair.clock.now().second, pair.clock.now().microsecond) != (1, 0):
        pair.tick()
    before = len(pair.fires)
    pair.lose_all()
    pair.tick(pair.standby, pair.leader)
    pair.lose_all()
    pair.tick(pair.standby, pair.leader, passes=60)

    assert pair.standby.epoch == 1
    assert len(pair.fires) == before + 1
    assert each_minute(pair.fires)


def test_one_that_could_not_load_is_no_leader_to_the_next_loss(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    hand_over(pair)
    while pair.clock.now().second != 1:
        pair.tick()
    before = len(pair.fires)
    store = pair.standby.context.store

    def crashed(*_: object) -> None:
        raise StoreUnavailableError("memory:", "it crashed")

    # The leader dies; whoever takes over knows nothing yet when the store crashes, too.
    monkeypatch.setattr(store, "sight", crashed)
    pair.tick(pair.standby, passes=12)
    pair.lose_all()
    pair.tick(pair.standby, passes=60)

    assert pair.standby.epoch == 1
    assert len(pair.fires) == before + 1
    assert each_minute(pair.fires)


def test_a_silence_while_listening_begins_it_anew(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.lose_all_after_a_fire()
    pair.tick(pair.standby, passes=2)
    store = pair.standby.context.store

    def away(*_: object) -> None:
        raise StoreUnavailableError("memory:", "it is away")

    with monkeypatch.context() as silent:
        silent.setattr(store, "pulse", away)
        pair.tick(passes=12)
    pair.lose_all()
    pair.tick(pair.standby, pair.leader, passes=60)

    assert len(pair.fires) == 4
    assert each_minute(pair.fires)


def test_a_third_one_waits_for_the_next_leader_to_have_listened(make: Callable[..., Engine], pair: Pair) -> None:
    third = make(guarded=False, j={"task": "t", "schedule": crontab()})
    pair.tick(pair.leader, pair.standby, third, passes=17)
    # The leader dies three seconds before a fire, with the store's memory.
    pair.lose_all()
    third.context.use_store(pair.standby.context.store)
    pair.tick(pair.standby, third, passes=5)
    assert third.epoch is None
    pair.standby.close()
    pair.tick(third, passes=70)

    assert third.epoch is not None
    assert each_minute(pair.fires)
    assert len(pair.fires) >= 4


def test_clocks_that_were_set_back_leave_no_moment_that_is_to_come(pair: Pair) -> None:
    pair.clock.advance(-60 * MINUTE)
    pair.tick(passes=30)
    witness = pair.standby._witness
    assert witness.done is not None
    assert timedelta(0) <= pair.clock.now() - witness.done <= timedelta(seconds=2)
    pair.lose_all()
    pair.tick(pair.standby, pair.leader, passes=3)
    assert not pair.leader._witness.lost
    pair.tick(pair.standby, pair.leader, passes=10)
    assert not witness.lost
