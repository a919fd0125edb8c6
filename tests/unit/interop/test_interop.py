"""Celery's schedules as triggers and back, without a change of meaning."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.beat import ScheduleEntry
from celery.schedules import BaseSchedule, crontab, schedule, solar

from celery_legion.interop import CelerySchedule, celery_schedule, entry_of, to_trigger
from celery_legion.job import Action, Job
from celery_legion.triggers import Cron, Interval, Restricted, Trigger, TriggerError

MOMENT = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.fixture
def app() -> Celery:
    made = Celery("interop", set_as_current=False)
    made.conf.timezone = "Europe/Berlin"
    return made


@pytest.mark.parametrize(
    ("written", "expression"),
    [
        (crontab(), "* * * * *"),
        (crontab(minute=0, hour=2), "0 2 * * *"),
        (crontab(minute="*/15"), "*/15 * * * *"),
        (crontab(minute="0,30", hour="8-10", day_of_week="mon-fri"), "0,30 8,9,10 * * 1,2,3,4,5"),
        (crontab(minute={3, 1}, hour=[4]), "1,3 4 * * *"),
        (crontab(minute=0, hour=0, day_of_month="2-30/3"), "0 0 2,5,8,11,14,17,20,23,26,29 * *"),
        (crontab(minute=0, hour=0, day_of_month=13, day_of_week="fri"), "0 0 13 * 5"),
    ],
)
def test_a_crontab_keeps_its_fields_its_zone_and_its_and_of_the_day_fields(
    app: Celery, written: Any, expression: str
) -> None:
    trigger, made = to_trigger(written, app)

    assert trigger == Cron(expression, "Europe/Berlin", days="and")
    assert made is written


def test_friday_the_thirteenth_stays_one(app: Celery) -> None:
    trigger, _ = to_trigger(crontab(minute=0, hour=0, day_of_month=13, day_of_week="fri"), app)

    assert trigger.next_after(MOMENT) == datetime(2026, 3, 12, 23, 0, tzinfo=UTC)


@pytest.mark.parametrize("written", [90, 90.0, timedelta(seconds=90), schedule(90)])
def test_numbers_timedeltas_and_schedules_are_intervals(app: Celery, written: Any) -> None:
    assert to_trigger(written, app)[0] == Interval(timedelta(seconds=90))


def test_a_relative_schedule_keeps_to_round_times(app: Celery) -> None:
    trigger, _ = to_trigger(schedule(timedelta(hours=1), relative=True), app)

    assert trigger.next_after(MOMENT + timedelta(minutes=7)) == MOMENT + timedelta(hours=1)


def test_a_solar_schedule_is_computed_by_celery_for_the_moment_asked(app: Celery) -> None:
    trigger, _ = to_trigger(solar("sunset", 52.5, 13.4, app=app), app)

    first = trigger.next_after(MOMENT)
    assert first is not None
    assert MOMENT < first < MOMENT + timedelta(hours=8)
    second = trigger.next_after(first)
    assert second is not None
    assert timedelta(hours=23) < second - first < timedelta(hours=25)


class EveryTenth(BaseSchedule):
    """A schedule of the user's own: at the next full ten seconds."""

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        return timedelta(seconds=10 - last_run_at.second % 10)

    def is_due(self, last_run_at: datetime) -> tuple[bool, float]:
        return False, 1.0


def test_a_schedule_of_the_users_own_class_is_asked_with_the_moment(app: Celery) -> None:
    trigger, _ = to_trigger(EveryTenth(), app)

    assert isinstance(trigger, CelerySchedule)
    assert trigger.next_after(MOMENT + timedelta(seconds=3)) == MOMENT + timedelta(seconds=10)
    with pytest.raises(TriggerError, match="aware"):
        trigger.next_after(datetime(2026, 1, 1))


@pytest.mark.parametrize(
    ("trigger", "kind"),
    [
        (Cron("30 2 * * 1", "Europe/Berlin"), crontab),
        (Cron("0 18 L * *"), schedule),
        (Cron("* * * * * */2"), schedule),
        (Interval(timedelta(seconds=90)), schedule),
        (Restricted(Interval(timedelta(minutes=5)), frozenset({0})), schedule),
    ],
)
def test_monitors_get_a_schedule_of_celerys_whatever_the_trigger(trigger: Trigger, kind: type) -> None:
    made = celery_schedule(Job(name="j", action=Action("t"), trigger=trigger))

    assert type(made) is kind


def test_an_entry_object_reads_as_a_mapping(app: Celery) -> None:
    entry = ScheduleEntry(name="x", task="t", schedule=5, args=(1,), app=app)

    assert entry_of(entry)["task"] == "t"
    assert entry_of({"task": "u"}) == {"task": "u"}
