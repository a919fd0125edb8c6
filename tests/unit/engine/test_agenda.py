"""The agenda: a trigger that fails is nobody's trouble but its own job's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from celery_legion.builder import Builder
from celery_legion.engine import Engine
from celery_legion.engine.agenda import Agenda
from celery_legion.stores.base import Sight
from celery_legion.target import Target
from tests.unit.engine.bench import MINUTE, START, Broker, FakeClock


@dataclass(frozen=True)
class Fickle:
    """A user's trigger: every minute, until it fails."""

    until: datetime

    def next_after(self, moment: datetime) -> datetime | None:
        if moment > self.until:
            raise ZeroDivisionError("no further")
        return moment + MINUTE

    def anchored(self, moment: datetime) -> Fickle:
        return self


def loaded(make: Callable[..., Engine], until: datetime) -> Agenda:
    sound = make().context.registry.jobs["j"]
    fickle = replace(sound, name="fickle", trigger=Fickle(until))
    agenda = Agenda()
    agenda.load([fickle, sound], {name: Sight(mark=START, anchor=START) for name in ("j", "fickle")})
    return agenda


def test_one_that_fails_at_once_is_left_out_and_the_others_are_not(make: Callable[..., Engine]) -> None:
    agenda = loaded(make, START - MINUTE)

    assert agenda.broken == {"fickle": "ZeroDivisionError: no further"}
    assert [standing.job.name for standing in agenda.take_due(START + MINUTE, 10)] == ["j"]


class MuteError(Exception):
    """Says nothing, not even when it is asked."""

    def __str__(self) -> str:
        raise ZeroDivisionError


@dataclass(frozen=True)
class Raising(Fickle):
    error: Exception

    def next_after(self, moment: datetime) -> datetime | None:
        raise self.error


@pytest.mark.parametrize("error", [MuteError(), ValueError("a\nCRITICAL all is lost\x1b[2J" + "!" * 10_000)])
def test_what_a_trigger_raises_is_told_in_one_line_whatever_it_is(
    make: Callable[..., Engine], error: Exception
) -> None:
    sound = make().context.registry.jobs["j"]
    agenda = Agenda()
    agenda.load([replace(sound, trigger=Raising(START, error))], {"j": Sight(mark=START, anchor=START)})

    told = agenda.broken["j"]
    assert told.startswith(type(error).__name__)
    assert "\n" not in told
    assert "\x1b" not in told
    assert len(told) < 3000


def test_one_that_fails_later_fires_until_then(make: Callable[..., Engine], caplog: pytest.LogCaptureFixture) -> None:
    agenda = loaded(make, START)
    for standing in agenda.take_due(START + MINUTE, 10):
        agenda.settle(standing, START + MINUTE)

    assert [standing.job.name for standing in agenda.take_due(START + 2 * MINUTE, 10)] == ["j"]
    assert "job fickle has no next fire: ZeroDivisionError: no further" in caplog.text


@dataclass(frozen=True)
class Backwards:
    """A user's trigger that is due for ever, or between milliseconds."""

    step: timedelta

    def next_after(self, moment: datetime) -> datetime | None:
        return moment + self.step

    def anchored(self, moment: datetime) -> Backwards:
        return self


@pytest.mark.parametrize("step", [timedelta(0), -MINUTE])
def test_a_trigger_that_never_gets_on_floods_nobody(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, caplog: pytest.LogCaptureFixture, step: timedelta
) -> None:
    engine = make()
    engine.context.registry.add(Builder(Target("t", "schedule.py:1")).name("odd").trigger(Backwards(step)))
    for _ in range(3):
        engine.tick()
        clock.advance(MINUTE)

    assert {dispatch.job for dispatch in broker.sent} == {"j"}
    assert "next_after has to return a later one" in caplog.text


def test_a_fire_between_milliseconds_is_moved_to_a_whole_one() -> None:
    fire = Agenda().next_after(Backwards(timedelta(microseconds=1)), START)

    assert fire == START + timedelta(milliseconds=1)
