"""Which schedules are asked when they are due, and what their answers come to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.schedules import BaseSchedule, crontab, schedstate, schedule, solar

from celery_legion import Legion
from celery_legion.celery_schedule import IDLE, LONGEST, SHORTEST, UNSAID, AskedSchedule, CelerySchedule
from celery_legion.errors import InvalidJobError
from celery_legion.interop import celery_schedule, to_trigger
from celery_legion.job import Action, Job
from celery_legion.triggers import Cron, Interval, Restricted, TriggerError, Union
from celery_legion.triggers.words import describe

LAST = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.fixture
def app() -> Celery:
    made = Celery("asked", broker="redis://localhost:6379/0", set_as_current=False)
    made.conf.timezone = "Europe/Berlin"
    return made


class Own(BaseSchedule):
    """Says what it was told to say."""

    def __init__(self, said: Any) -> None:
        super().__init__()
        self.said, self.asked = said, []

    def is_due(self, last_run_at: datetime) -> Any:
        self.asked.append(last_run_at)
        return self.said


class Derived(Own):
    """Has the method from a class between."""


class Condition(schedule):
    def is_due(self, last_run_at: datetime) -> Any:
        return schedstate(False, 5)


class Mixin:
    def is_due(self, last_run_at: datetime) -> Any:
        return schedstate(False, 5)


class Mixed(Mixin, crontab):
    pass


class Shadowed(crontab, Mixin):
    """Celery's own method comes before the mixin's."""


class Setting(schedule):
    def __init__(self) -> None:
        BaseSchedule.__init__(self)

    @property
    def run_every(self) -> timedelta:
        return timedelta(seconds=3)


class Estimate(schedule):
    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        return timedelta(seconds=1)


class Clock(schedule):
    def now(self) -> datetime:
        return LAST


class Hour(crontab):
    @property
    def hour(self) -> set[int]:
        return {3}

    @hour.setter
    def hour(self, value: Any) -> None:
        pass


class Named(crontab):
    """Nothing but a way of being written."""

    def __init__(self, text: str, **keywords: Any) -> None:
        super().__init__(*text.split(), **keywords)

    def __repr__(self) -> str:
        return "<named>"


class Duck:
    """No schedule of Celery's; beat takes it all the same."""

    def is_due(self, last_run_at: datetime) -> Any:
        return True, 5


def patched() -> Any:
    made = schedule(5)
    made.is_due = lambda last: (False, 1)
    return made


@pytest.mark.parametrize(
    "written",
    [
        Own((False, 1)), Derived((False, 1)), Condition(5), Mixed(), Setting(), Estimate(5), Clock(5), Hour(), Duck(),
        patched(),
    ],
    ids=lambda one: type(one).__name__,
)  # fmt: skip
def test_what_decides_by_code_of_its_own_is_asked(app: Celery, written: Any) -> None:
    trigger, made = to_trigger(written, app)

    assert isinstance(trigger, AskedSchedule)
    assert made is written
    assert trigger.next_after(LAST) is None
    assert celery_schedule(Job(name="j", action=Action("t"), trigger=trigger)) is written


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        (crontab(), Cron), (Named("0 3 * * *"), Cron), (Shadowed(), Cron), (schedule(5), Interval),
        (schedule(5, relative=True), CelerySchedule), (solar("sunset", 52.5, 13.4), CelerySchedule),
    ],
)  # fmt: skip
def test_what_celerys_own_code_decides_is_known_ahead(app: Celery, written: Any, kind: type) -> None:
    assert type(to_trigger(written, app)[0]) is kind


def asked(said: Any) -> AskedSchedule:
    return AskedSchedule(Own(said))


@pytest.mark.parametrize(
    ("said", "due", "wait"),
    [
        (schedstate(True, 5.5), True, timedelta(seconds=5.5)),
        ((False, timedelta(seconds=7)), False, timedelta(seconds=7)),
        ([1, "3"], True, timedelta(seconds=3)),
        ((True, 0), True, UNSAID),
        ((False, 0), False, UNSAID),
        ((True, -9), True, UNSAID),
        ((True, None), True, UNSAID),
        ((False, None), False, IDLE),
        ((False, float("nan")), False, IDLE),
        ((True, float("-inf")), True, UNSAID),
        ((False, float("inf")), False, LONGEST),
        ((True, 1e300), True, LONGEST),
        ((True, 10**400), True, UNSAID),
        ((True, 1e-9), True, SHORTEST),
        ((True, "soon"), True, UNSAID),
    ],
)
def test_an_answer_is_a_truth_and_a_time_to_wait_whatever_was_said(said: Any, due: bool, wait: timedelta) -> None:
    answer = asked(said).ask(LAST)

    assert (answer.due, answer.wait) == (due, wait)


@pytest.mark.parametrize("said", [None, True, 5, (True,), (True, 1, 2)])
def test_an_answer_that_is_no_pair_is_an_error(said: Any) -> None:
    with pytest.raises(TypeError, match="is_due"):
        asked(said).ask(LAST)


def test_it_is_asked_itself_with_its_last_run_in_its_zone(app: Celery) -> None:
    written = Own((True, 5))
    trigger, _ = to_trigger(written, app)
    trigger.ask(LAST)

    assert written.asked == [LAST]
    assert written.asked[0].tzinfo == ZoneInfo("Europe/Berlin")


class NamedZone(Own):
    tz = "Asia/Tokyo"


class NoZone(Own):
    @property
    def tz(self) -> Any:
        raise OSError("the database is away")


@pytest.mark.parametrize("kind", [NamedZone, NoZone])
def test_what_a_class_calls_its_zone_and_is_none_keeps_nobody_from_asking(app: Celery, kind: type[Own]) -> None:
    written = kind((True, 5))

    assert to_trigger(written, app)[0].ask(LAST).due
    assert written.asked[0].tzinfo == ZoneInfo("Europe/Berlin")


class EstimateOnly(BaseSchedule):
    """Beat cannot ask it; its estimate is enough."""

    def __init__(self, left: int) -> None:
        super().__init__(nowfun=lambda: LAST)
        self.left = left

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        return timedelta(seconds=self.left)


@pytest.mark.parametrize(("left", "due", "wait"), [(7, False, 7), (0, True, 1), (-3, True, 1)])
def test_one_that_only_estimates_is_due_when_nothing_is_left(app: Celery, left: int, due: bool, wait: int) -> None:
    answer = to_trigger(EstimateOnly(left), app)[0].ask(LAST)

    assert (answer.due, answer.wait) == (due, timedelta(seconds=wait))


class Speaking(Own):
    def __repr__(self) -> str:
        return f"<speaking {self.said}>"


class Silent(Own):
    def __repr__(self) -> str:
        raise OSError("the database is away")


def test_it_is_called_what_its_class_says_and_never_what_celerys_says_of_intervals() -> None:
    assert describe(AskedSchedule(Speaking("x"))) == "whenever <speaking x> says so"
    assert describe(AskedSchedule(Silent("x"))).endswith("Silent says so")
    assert describe(AskedSchedule(Condition(5))).endswith("test_asked_schedules.Condition says so")


def test_what_it_is_known_by_is_the_same_in_every_process_and_state() -> None:
    one, other = Own(1), Own(2)

    assert repr(AskedSchedule(one)) == repr(AskedSchedule(other))
    assert AskedSchedule(one).state_print != AskedSchedule(other).state_print
    assert AskedSchedule(one) == AskedSchedule(one) != AskedSchedule(other)


def test_a_relative_schedule_of_no_span_is_refused(app: Celery) -> None:
    with pytest.raises(TriggerError):
        to_trigger(schedule(0, relative=True), app)


def test_a_crontab_of_django_celery_beat_is_known_ahead_in_its_zone(app: Celery) -> None:
    def is_due(self: Any, last_run_at: datetime) -> Any:
        return crontab.is_due(self, last_run_at.astimezone(self.tz))

    kind = type("TzAwareCrontab", (crontab,), {"__module__": "django_celery_beat.tzcrontab", "is_due": is_due})
    written = kind(minute=0, hour=3)
    written.tz = ZoneInfo("Asia/Tokyo")

    assert to_trigger(written, app)[0] == Cron("0 3 * * *", "Asia/Tokyo", days="and")


def test_one_that_is_asked_can_neither_be_restricted_nor_joined(app: Celery) -> None:
    trigger = to_trigger(Own((True, 5)), app)[0]

    with pytest.raises(TriggerError, match="when"):
        Restricted(trigger, frozenset({0}))
    with pytest.raises(TriggerError, match="when"):
        Union(Interval(timedelta(seconds=5)), trigger)
    legion = Legion(app)
    legion.task("t").name("job").trigger(Own((True, 5))).mondays()
    with pytest.raises(InvalidJobError, match="decides when it is asked"):
        legion.jobs
