"""Celery's schedules as triggers and back, without a change of meaning."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.beat import ScheduleEntry
from celery.schedules import BaseSchedule, crontab, schedule, solar

from celery_legion.errors import InvalidJobError
from celery_legion.interop import TriggerSchedule, celery_schedule, entry_of, job_of_entry, to_trigger
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
        (crontab(minute="0,30", hour="8-10", day_of_week="mon-fri"), "0,30 8-10 * * 1-5"),
        (crontab(minute={3, 1}, hour=[4]), "1,3 4 * * *"),
        (crontab(minute=0, hour=0, day_of_month="2-30/3"), "0 0 2,5,8,11,14,17,20,23,26,29 * *"),
        (crontab(minute=0, hour=0, day_of_month=13, day_of_week="fri"), "0 0 13 * 5"),
        (crontab(minute="0-58", hour="0-22", day_of_month="1-30"), "0-58 0-22 1-30 * *"),
        (crontab(minute="*/10,7", month_of_year="nov-feb"), "0,7,10,20,30,40,50 * * 1,2,11,12 *"),
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


def test_a_naive_moment_is_refused(app: Celery) -> None:
    trigger, _ = to_trigger(solar("sunset", 52.5, 13.4, app=app), app)

    with pytest.raises(TriggerError, match="aware"):
        trigger.next_after(datetime(2026, 1, 1))


@pytest.mark.parametrize(
    ("trigger", "kind"),
    [
        (Cron("30 2 * * 1", "Europe/Berlin"), crontab),
        (Cron("0 2 * jul wed"), crontab),
        (Cron("0 0 13 * 5", days="and"), crontab),
        (Interval(timedelta(seconds=90)), schedule),
        (Cron("0 0 13 * 5"), TriggerSchedule),
        (Cron("0 18 L * *"), TriggerSchedule),
        (Cron("* * * * * */2"), TriggerSchedule),
        (Restricted(Interval(timedelta(minutes=5)), frozenset({0})), TriggerSchedule),
    ],
)
def test_monitors_get_celerys_own_schedule_only_where_it_says_the_same(trigger: Trigger, kind: type) -> None:
    made = celery_schedule(Job(name="j", action=Action("t"), trigger=trigger))

    assert type(made) is kind


def test_an_entry_object_reads_as_a_mapping(app: Celery) -> None:
    entry = ScheduleEntry(name="x", task="t", schedule=5, args=(1,), app=app)

    assert entry_of(entry)["task"] == "t"
    assert entry_of({"task": "u"}) == {"task": "u"}


def test_a_crontab_for_monitors_is_in_the_jobs_zone_and_reads_as_cron() -> None:
    made = celery_schedule(Job(name="j", action=Action("t"), trigger=Cron("30 2 * * mon-fri", "Asia/Tokyo")))

    assert made.tz == ZoneInfo("Asia/Tokyo")
    assert (made._orig_minute, made._orig_hour, made._orig_day_of_week) == ("30", "2", "1-5")


def test_a_trigger_that_celery_cannot_say_is_due_when_it_fires() -> None:
    made = celery_schedule(Job(name="j", action=Action("t"), trigger=Cron("0 18 L * *")))
    last = datetime(2026, 2, 1, tzinfo=UTC)

    made.nowfun = lambda: datetime(2026, 2, 28, 17, 0, tzinfo=UTC)
    assert made.is_due(last) == (False, 3600.0)
    made.nowfun = lambda: datetime(2026, 2, 28, 18, 0, tzinfo=UTC)
    assert made.is_due(last)[0] is True


def test_a_fraction_of_a_millisecond_is_rounded(app: Celery) -> None:
    assert to_trigger(1 / 3, app)[0] == Interval(timedelta(milliseconds=333))
    assert to_trigger(timedelta(microseconds=1), app)[0] == Interval(timedelta(milliseconds=1))


@pytest.mark.parametrize("never", [0, -5, timedelta(0)])
def test_an_interval_that_is_not_positive_is_refused(app: Celery, never: Any) -> None:
    with pytest.raises(TriggerError):
        to_trigger(never, app)


def test_a_relative_schedule_of_a_day_keeps_to_local_midnight(app: Celery) -> None:
    trigger, _ = to_trigger(timedelta(days=1), app, relative=True)

    first = trigger.next_after(datetime(2026, 3, 27, 12, tzinfo=UTC))
    assert first == datetime(2026, 3, 27, 23, tzinfo=UTC)
    spring = trigger.next_after(datetime(2026, 3, 28, 23, tzinfo=UTC))
    assert spring == datetime(2026, 3, 29, 22, tzinfo=UTC)


class InZone(crontab):
    """A crontab in a zone of its own, as database schedulers have it."""

    def __init__(self, *args: Any, tz: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tz = tz


class OnWorkdays(InZone):
    """One that lets a weekend pass, when it is asked."""

    def is_due(self, last_run_at: datetime) -> Any:
        due, wait = super().is_due(last_run_at)
        return due and self.now().astimezone(self.tz).weekday() < 5, wait


def test_a_crontab_with_a_zone_of_its_own_keeps_it(app: Celery) -> None:
    trigger, _ = to_trigger(InZone(minute=0, hour=3, tz=ZoneInfo("Asia/Tokyo")), app)

    assert trigger == Cron("0 3 * * *", "Asia/Tokyo", days="and")


def test_schedules_that_differ_in_their_zone_alone_are_two(app: Celery) -> None:
    tokyo, lima = (
        to_trigger(OnWorkdays(minute=0, hour=3, tz=ZoneInfo(zone)), app)[0] for zone in ("Asia/Tokyo", "America/Lima")
    )

    assert tokyo != lima


def test_what_a_schedule_says_of_itself_is_the_same_in_every_process(app: Celery) -> None:
    assert repr(to_trigger(EveryTenth(), app)[0]) == repr(to_trigger(EveryTenth(), app)[0])


def test_an_entry_object_in_the_configuration_is_a_job(app: Celery) -> None:
    entry = ScheduleEntry(name="x", task="t", schedule=schedule(5), args=(1,), app=app)

    job = job_of_entry("x", entry, app)
    assert (job.action.task, job.args, job.trigger) == ("t", (1,), Interval(timedelta(seconds=5)))


def test_a_key_that_celery_would_refuse_is_refused_with_what_was_meant(app: Celery) -> None:
    with pytest.raises(InvalidJobError, match="did you mean 'schedule'"):
        job_of_entry("x", {"task": "t", "shedule": 5}, app)


def test_plain_options_that_many_entries_have_alike_are_kept_once(app: Celery) -> None:
    shared: dict[Any, Any] = {}
    one, two, other = (
        job_of_entry("x", {"task": "t", "schedule": 5, "options": options}, app, shared=shared)
        for options in ({"queue": "q", "expires": 1}, {"queue": "q", "expires": 1}, {"queue": "q", "expires": True})
    )

    assert one.options is two.options
    assert other.options["expires"] is True


def test_a_key_of_another_packages_scheduler_says_what_to_write_instead(app: Celery) -> None:
    entry = {"task": "t", "schedule": 60, "tenant_schemas": ["acme"]}
    with pytest.raises(InvalidJobError, match="write an entry for each schema") as caught:
        job_of_entry("tick", entry, app)

    assert "'_schema_name'" in str(caught.value)
    assert "remove it" not in str(caught.value)
