"""Which clock is gone by when host and store differ, step by step."""

from __future__ import annotations

from datetime import timedelta

import pytest

from celery_legion.engine.timekeeping import Judgement, Reading, Timekeeper
from tests.unit.engine.bench import START

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
NOTHING = timedelta(0)
STEPS = [timedelta(seconds=seconds) for seconds in (-3600, -90, -2, 2, 90, 3600)]


class World:
    """A host, a store and their monotonic time; ``true`` is what the time really is."""

    def __init__(self) -> None:
        self.keeper = Timekeeper()
        self.true = START
        self.monotonic = 1000.0
        self.host_off = self.store_off = NOTHING

    def look(self, after: float = 1.0, took: float = 0.0) -> Judgement:
        """Let *after* seconds pass, and look for *took* seconds; the store answers at their beginning."""
        self.pass_by(after)
        asked, store = self.monotonic, self.true + self.store_off
        self.pass_by(took)
        return self.keeper.judge(
            Reading(host=self.true + self.host_off, store=store, asked=asked, answered=self.monotonic)
        )

    def pass_by(self, seconds: float) -> None:
        self.true += timedelta(seconds=seconds)
        self.monotonic += seconds

    def sleep(self, span: timedelta) -> None:
        """The whole machine sleeps: the monotonic clock stands."""
        self.true += span


@pytest.fixture
def world() -> World:
    made = World()
    made.look()
    return made


@pytest.mark.parametrize("off", [-1.0, -0.3, 0.0, 0.3, 1.0])
def test_a_host_that_agrees_with_the_store_is_gone_by(off: float) -> None:
    world = World()
    world.host_off = timedelta(seconds=off)

    judged = world.look()

    assert (judged.now, judged.by_host, judged.ahead) == (world.true + world.host_off, True, NOTHING)


@pytest.mark.parametrize("off", STEPS)
def test_at_the_first_look_the_store_is_gone_by_when_they_differ(off: timedelta) -> None:
    world = World()
    world.host_off = off

    judged = world.look()

    assert (judged.now, judged.by_host, judged.ahead) == (world.true, False, off)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_of_the_host_changes_nothing_and_it_is_gone_by_again_when_it_is_healed(
    world: World, step: timedelta
) -> None:
    world.host_off = step
    judged = [world.look() for _ in range(3)]
    assert [(one.by_host, one.ahead, one.jump) for one in judged] == [(False, step, NOTHING)] * 3
    assert judged[-1].now == world.true

    world.host_off = NOTHING
    healed = world.look()
    assert (healed.now, healed.by_host, healed.ahead, healed.jump) == (world.true, True, NOTHING, NOTHING)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_of_the_store_is_taken_out_until_it_is_healed(world: World, step: timedelta) -> None:
    world.store_off = step
    judged = [world.look() for _ in range(3)]
    assert [(one.by_host, one.ahead, one.jump) for one in judged] == [(True, -step, NOTHING)] * 3
    assert judged[-1].now == world.true

    world.store_off = NOTHING
    healed = world.look()
    assert (healed.now, healed.by_host, healed.ahead, healed.jump) == (world.true, True, NOTHING, NOTHING)


def test_a_host_that_steps_after_the_store_did_is_not_followed_either(world: World) -> None:
    world.store_off = HOUR
    world.look()
    world.host_off = -90 * SECOND
    judged = [world.look() for _ in range(3)]
    assert [one.now for one in judged] == [world.true - 2 * SECOND, world.true - SECOND, world.true]

    world.store_off = NOTHING
    assert world.look().now == world.true
    world.host_off = NOTHING
    assert world.look().by_host


def test_a_store_that_steps_after_the_host_did_is_not_followed_either(world: World) -> None:
    world.host_off = -90 * SECOND
    world.look()
    world.store_off = HOUR
    assert world.look().now == world.true
    world.store_off = -HOUR
    assert world.look().now == world.true


@pytest.mark.parametrize("rate", [-0.5, 0.01, 1.0])
def test_a_host_that_drifts_is_left_for_the_store_when_they_are_a_second_apart(world: World, rate: float) -> None:
    for _ in range(300):
        world.host_off += timedelta(seconds=rate)
        judged = world.look()
        assert abs(judged.now - world.true) <= SECOND
        assert judged.jump == NOTHING

    assert not judged.by_host


def test_a_store_whose_clock_runs_at_double_speed_is_not_followed(world: World) -> None:
    for _ in range(300):
        world.store_off += SECOND
        assert abs(world.look().now - world.true) <= SECOND


def test_both_slewed_by_ntp_is_nothing_to_speak_of(world: World) -> None:
    for _ in range(1000):
        world.host_off += timedelta(microseconds=500)
        world.store_off -= timedelta(microseconds=300)
        judged = world.look()
        assert (judged.by_host, judged.ahead, judged.jump) == (True, NOTHING, NOTHING)


@pytest.mark.parametrize("span", [timedelta(seconds=5), HOUR, timedelta(days=30)])
def test_a_machine_that_slept_goes_on_with_the_time_that_is(world: World, span: timedelta) -> None:
    world.sleep(span)

    judged = world.look()

    assert (judged.now, judged.by_host, judged.ahead, judged.jump) == (world.true, True, NOTHING, span)


@pytest.mark.parametrize("step", STEPS)
def test_both_set_alike_is_the_time_that_is(world: World, step: timedelta) -> None:
    world.host_off = world.store_off = step

    judged = world.look()

    assert (judged.now, judged.by_host, judged.ahead) == (world.true + step, True, NOTHING)
    assert judged.jump == (step if abs(step) > 2 * SECOND else NOTHING)


def test_both_set_differently_leaves_the_store(world: World) -> None:
    world.host_off, world.store_off = HOUR, -90 * SECOND

    judged = world.look()

    assert (judged.now, judged.by_host) == (world.true - 90 * SECOND, False)


def test_a_slow_answer_is_no_difference_and_no_step(world: World) -> None:
    for took in (0.0, 2.0, 0.0, 15.0, 0.0, 0.0):
        judged = world.look(took=took)
        assert (judged.by_host, judged.ahead, judged.jump) == (True, NOTHING, NOTHING)
        assert judged.now == world.true


def test_a_step_is_seen_across_an_outage_of_the_store(world: World) -> None:
    world.store_off = 90 * SECOND

    assert world.look(after=600.0).now == world.true
