"""Between Celery's schedules and our triggers, in both directions, without a change of meaning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy, deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.beat import ScheduleEntry
from celery.schedules import BaseSchedule, crontab, maybe_schedule, schedule

from celery_legion.clock import EPOCH
from celery_legion.errors import InvalidJobError
from celery_legion.job import DEFAULT_POLICY, NOTHING, Action, Job, Policy, Source
from celery_legion.triggers import Cron, Interval, Restricted, Trigger, TriggerError

SHORTEST = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class CelerySchedule:
    """A schedule that only Celery can compute (solar, or a class of the user's) as a trigger.

    Two are equal if they are one object or Celery says so.
    """

    text: str
    schedule: Any = field(hash=False, repr=False)

    def next_after(self, moment: datetime) -> datetime | None:
        """Return what the schedule says is next when it has last run at *moment*; in UTC."""
        if moment.tzinfo is None:
            raise TriggerError(self.text, "was asked with a naive moment", "use an aware one")
        asked = copy(self.schedule)
        asked.nowfun = lambda: moment
        remaining = asked.remaining_estimate(moment)
        fire = moment + max(remaining, SHORTEST)
        return _whole_ms(fire.astimezone(UTC))

    def anchored(self, moment: datetime) -> Trigger:
        """Return itself."""
        return self


def _whole_ms(moment: datetime) -> datetime:
    rest = moment.microsecond % 1000
    return moment + timedelta(microseconds=1000 - rest) if rest else moment


def to_trigger(value: Any, app: Any, relative: bool = False) -> tuple[Trigger, Any]:
    """Return the trigger of what stands as ``schedule`` in a ``beat_schedule`` entry, and Celery's object for it.

    Celery's ``crontab`` keeps its meaning (day of month AND day of week) and its zone, the app's.
    ``schedule``, timedeltas and numbers become intervals.

    Raises:
        TriggerError: It can never fire.
        TypeError: It is no schedule.
    """
    if not isinstance(value, (BaseSchedule, timedelta, int, float)):
        raise TypeError(f"{value!r} is no schedule; use crontab, schedule, solar, a timedelta or seconds")
    made = maybe_schedule(value, app=app)
    if type(made) is crontab:
        return Cron(_expression(made), str(getattr(made.tz, "key", made.tz)), days="and"), made
    if type(made) is schedule:
        # Celery's relative schedules keep to round times: full minutes, hours, days.
        return Interval(made.run_every, EPOCH if made.relative or relative else None), made
    return CelerySchedule(repr(made), made), made


def _expression(made: Any) -> str:
    fields = (
        (made._orig_minute, made.minute, 0, 59),
        (made._orig_hour, made.hour, 0, 23),
        (made._orig_day_of_month, made.day_of_month, 1, 31),
        (made._orig_month_of_year, made.month_of_year, 1, 12),
        (made._orig_day_of_week, made.day_of_week, 0, 6),
    )
    return " ".join(_field(*field) for field in fields)


def _field(written: Any, expanded: Iterable[int], low: int, high: int) -> str:
    """Return one field for cron: as it was written where that is plain, else the values Celery made of it."""
    if isinstance(written, str) and written.startswith("*"):
        # A wildcard job is one by its star: daylight saving depends on it.
        _, _, step = written.partition("/")
        if written == "*" or step.isdigit():
            return written
    values = sorted(expanded)
    if values == list(range(low, high + 1)):
        return "*"
    return ",".join(map(str, values))


def job_of_entry(name: str, entry: Mapping[str, Any], app: Any, policy: Policy = DEFAULT_POLICY) -> Job:
    """Return the job of one ``beat_schedule`` entry. Options are copied deeply, since Celery writes into them.

    Raises:
        InvalidJobError: The entry names no task, or its schedule is none.
    """
    task = entry.get("task")
    if not isinstance(task, str) or not task:
        raise InvalidJobError(name, "its beat_schedule entry names no task; give it a 'task'")
    try:
        trigger, made = to_trigger(entry.get("schedule"), app, bool(entry.get("relative")))
    except (TriggerError, TypeError, ValueError) as exc:
        raise InvalidJobError(name, f"its beat_schedule entry has no schedule that works: {exc}") from exc
    return Job(
        name=name,
        action=Action(task),
        trigger=trigger,
        args=tuple(entry.get("args") or ()),
        kwargs=dict(entry["kwargs"]) if entry.get("kwargs") else NOTHING,
        options=deepcopy(dict(entry["options"])) if entry.get("options") else NOTHING,
        source=Source.BEAT,
        policy=policy,
        place="beat_schedule",
        schedule=made,
    )


def entry_of(entry: Any) -> Mapping[str, Any]:
    """Return a ``ScheduleEntry`` in the form of ``beat_schedule``; a mapping is returned as it is."""
    if isinstance(entry, ScheduleEntry):
        return {
            "task": entry.task,
            "schedule": entry.schedule,
            "args": entry.args,
            "kwargs": entry.kwargs,
            "options": entry.options,
        }
    mapping: Mapping[str, Any] = entry
    return mapping


def celery_schedule(job: Job) -> Any:
    """Return Celery's schedule object for *job*, which monitors read.

    A five-field cron becomes ``crontab`` where Celery can say it, an interval ``schedule``; for all else
    it is a ``schedule`` of one minute, which is never asked for a time: the engine computes those.
    """
    if job.schedule is not None:
        return job.schedule
    trigger = job.trigger
    if isinstance(trigger, Restricted):
        trigger = trigger.trigger
    if isinstance(trigger, Interval):
        return schedule(trigger.every)
    if isinstance(trigger, Cron):
        made = _crontab(trigger)
        if made is not None:
            return made
    return schedule(timedelta(minutes=1))


def _crontab(trigger: Cron) -> Any:
    parts = trigger.expression.split()
    if len(parts) != 5:
        return None
    minute, hour, day, month, weekday = parts
    try:
        return crontab(minute=minute, hour=hour, day_of_month=day, month_of_year=month, day_of_week=weekday)
    except ValueError:
        return None
