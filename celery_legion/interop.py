"""Between Celery's schedules and our triggers, in both directions, without a change of meaning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from copy import deepcopy
from datetime import timedelta
from functools import lru_cache
from typing import Any

from celery.beat import ScheduleEntry
from celery.schedules import BaseSchedule, crontab, maybe_schedule, schedule

from celery_legion.celery_schedule import AskedSchedule, CelerySchedule, TriggerSchedule, decides_by_asking
from celery_legion.config import app_timezone
from celery_legion.control import error_in_line
from celery_legion.errors import InvalidJobError, did_you_mean
from celery_legion.job import DEFAULT_POLICY, NOTHING, Action, Job, Policy, Source
from celery_legion.triggers import Cron, Interval, Trigger, TriggerError
from celery_legion.triggers.broken import Broken
from celery_legion.triggers.zone_object import zone_name
from celery_legion.triggers.zones import get_zone

MILLISECOND = timedelta(milliseconds=1)
EVERYTHING = "*"
ENTRY_KEYS = (
    "task",
    "schedule",
    "args",
    "kwargs",
    "options",
    "relative",
    "last_run_at",
    "total_run_count",
    "name",
    "app",
)
FOREIGN_KEYS = {
    "tenant_schemas": "that only tenant-schemas-celery's schedulers know; write an entry for each schema, with "
    "'options': {'headers': {'_schema_name': the schema}}"
}
"""Keys of other packages' schedulers, with what says the same here: to leave them out would change what runs where."""

Shared = dict[tuple[Any, ...], Mapping[str, Any]]
"""Options that many entries have alike, kept once."""


def to_trigger(value: Any, app: Any, relative: bool = False) -> tuple[Trigger, Any]:
    """Return the trigger of what stands as ``schedule`` in a ``beat_schedule`` entry, and Celery's object for it.

    Celery's ``crontab`` keeps its meaning (day of month AND day of week) and its zone: its own, or the app's.
    ``schedule``, timedeltas and numbers become intervals, rounded to the millisecond. What has a meaning that
    only Celery knows (``solar``, ``relative=True``) is computed by it; what only the user's class knows is asked.

    Raises:
        TriggerError: It can never fire.
        TypeError: It is no schedule.
    """
    known = isinstance(value, (BaseSchedule, timedelta, int, float)) and not isinstance(value, bool)
    # Beat takes whatever can be asked.
    if not known and (isinstance(value, type) or not callable(getattr(value, "is_due", None))):
        hint = f"; write {value.__name__}(...), with its arguments" if isinstance(value, type) else ""
        raise TypeError(f"{value!r} is no schedule; use crontab, schedule, solar, a timedelta or seconds{hint}")
    made = maybe_schedule(value, relative, app=app)
    if decides_by_asking(made):
        return AskedSchedule(made), made
    if isinstance(made, crontab):
        own = vars(made).get("tz") if type(made).tz is BaseSchedule.tz else made.tz
        zone = app_timezone(app) if own is None else own if isinstance(own, str) else zone_name(own)
        if zone is None:
            raise TypeError(f"its tz {own!r} is no time zone; use a ZoneInfo such as ZoneInfo('Europe/Berlin')")
        return _cron(_expression(made), zone), made
    if isinstance(made, schedule):
        every = _interval(made.run_every)
        return (CelerySchedule(made) if made.relative else every), made
    return CelerySchedule(made), made


@lru_cache(maxsize=65536)
def _cron(expression: str, zone: str) -> Cron:
    return Cron(expression, zone, days="and")


@lru_cache(maxsize=4096)
def _interval(every: timedelta) -> Interval:
    rounded = timedelta(milliseconds=round(every / MILLISECOND))
    return Interval(max(rounded, MILLISECOND) if every > timedelta(0) else every)


def _expression(made: Any) -> str:
    return " ".join(
        (
            _field(made._orig_minute, made.minute, 0, 59),
            _field(made._orig_hour, made.hour, 0, 23),
            _field(made._orig_day_of_month, made.day_of_month, 1, 31),
            _field(made._orig_month_of_year, made.month_of_year, 1, 12),
            _field(made._orig_day_of_week, made.day_of_week, 0, 6),
        )
    )


def _field(written: Any, expanded: Iterable[int], low: int, high: int) -> str:
    """Return one field for cron: as it was written where that is plain, else the values Celery made of it."""
    if isinstance(written, str) and written.startswith("*"):
        # A wildcard job is one by its star: daylight saving depends on it.
        star, _, step = written.partition("/")
        if star == "*" and (written == "*" or (step.isdigit() and int(step) <= high - low + 1)):
            return written
    values = sorted(expanded)
    if len(values) == high - low + 1:
        return "*"
    return ",".join(_runs(values))


def _runs(values: list[int]) -> list[str]:
    """Sum sorted numbers up in ranges, since a long list may be more than an expression holds."""
    texts, first = [], values[0]
    for number, following in zip(values, [*values[1:], None], strict=True):
        if following == number + 1:
            continue
        texts.append(f"{first}-{number}" if number > first + 1 else ",".join(map(str, sorted({first, number}))))
        if following is not None:
            first = following
    return texts


def job_of_entry(
    name: str, entry: Mapping[str, Any] | Any, app: Any, policy: Policy = DEFAULT_POLICY, shared: Shared | None = None
) -> Job:
    """Return the job of one ``beat_schedule`` entry, a mapping or a ``ScheduleEntry``.

    Options are copied deeply, since Celery writes into them; plain ones in *shared* already are taken from there.

    Raises:
        InvalidJobError: The entry names no task, has a key that Celery does not know, or its schedule is none.
    """
    entry = entry_of(entry)
    if not isinstance(entry, Mapping):
        raise InvalidJobError(name, f"its beat_schedule entry is a {type(entry).__name__} and no dict{_comma(entry)}")
    if name == EVERYTHING:
        raise InvalidJobError(name, "its name means all jobs to `pause` and `resume`; give the entry another one")
    task = entry.get("task")
    if not isinstance(task, str) or not task:
        raise InvalidJobError(name, "its beat_schedule entry names no task; give it a 'task'")
    for key in entry:
        if key not in ENTRY_KEYS:
            hint = did_you_mean(str(key), ENTRY_KEYS)
            cure = FOREIGN_KEYS.get(str(key), f"that means nothing{hint}; remove it")
            raise InvalidJobError(name, f"its beat_schedule entry has a key {key!r} {cure}")
    kwargs, options = entry.get("kwargs") or NOTHING, entry.get("options") or NOTHING
    for key, value in (("kwargs", kwargs), ("options", options)):
        if not isinstance(value, Mapping):
            raise InvalidJobError(name, f"its beat_schedule entry has {key} {value!r}, which are no dict; write one")
    try:
        args = tuple(entry.get("args") or ())
    except TypeError:
        hint = f"write ({entry['args']!r},) with a comma for one argument"
        problem = f"its beat_schedule entry has args {entry['args']!r}, which are no tuple or list; {hint}"
        raise InvalidJobError(name, problem) from None
    try:
        trigger, made = to_trigger(entry.get("schedule"), app, bool(entry.get("relative")))
    except Exception as exc:
        # A schedule may be of a user's class.
        plain = isinstance(exc, TriggerError) or type(exc) in (TypeError, ValueError)
        problem = str(exc) if plain else error_in_line(exc)
        raise InvalidJobError(name, f"its beat_schedule entry has no schedule that works: {problem}") from exc
    try:
        options = _options(options, {} if shared is None else shared)
    except Exception as exc:
        problem = f"its beat_schedule entry has options that cannot be copied: {error_in_line(exc)}"
        raise InvalidJobError(name, problem) from exc
    return Job(
        name=name,
        action=_action(task),
        trigger=trigger,
        args=args,
        kwargs=kwargs,
        options=options,
        source=Source.BEAT,
        policy=policy,
        place="beat_schedule",
        schedule=made,
    )


def broken_job(name: str, entry: Any, problem: str) -> Job:
    """Return the job of an entry that is none, for the lists to show it with its *problem*."""
    task = None
    # A mapping of a user's class may fail at whatever it is asked.
    with suppress(Exception):
        task = entry.get("task") if isinstance(entry, Mapping) else None
    return Job(
        name=name,
        action=_action(task if isinstance(task, str) and task else "?"),
        trigger=Broken(problem),
        source=Source.BEAT,
        place="beat_schedule",
    )


def _comma(entry: Any) -> str:
    return "; remove the comma behind it" if isinstance(entry, tuple) and len(entry) == 1 else ""


@lru_cache(maxsize=4096)
def _action(task: str) -> Action:
    return Action(task)


def _options(options: Mapping[str, Any], shared: Shared) -> Mapping[str, Any]:
    if not options:
        return NOTHING
    if any(type(value) not in (str, int, float, bool, timedelta) for value in options.values()):
        return deepcopy(dict(options))
    key = tuple((name, type(value), value) for name, value in options.items())
    known = shared.get(key)
    if known is None:
        known = shared[key] = dict(options)
    return known


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

    A five-field cron becomes a ``crontab`` in its zone where that says the same, an interval a ``schedule``; all else
    is a ``TriggerSchedule``, which monitors leave alone (a made-up interval they would watch, and report as missed).
    """
    return job.schedule if job.schedule is not None else _celery_schedule(job.trigger)


@lru_cache(maxsize=4096)
def _celery_schedule(trigger: Trigger) -> Any:
    if isinstance(trigger, AskedSchedule):
        return trigger.schedule
    if isinstance(trigger, Interval):
        return schedule(trigger.every)
    made = _crontab(trigger) if isinstance(trigger, Cron) else None
    return TriggerSchedule(trigger) if made is None else made


def _crontab(trigger: Cron) -> Any:
    pattern = trigger.pattern
    if len(pattern.fields) != 5 or pattern.either_day:
        return None
    if set(pattern.fields[2]) & set("lw") or set(pattern.fields[4]) & set("l#"):
        return None
    bounds = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
    values = pattern.template.expanded
    fields = [
        text if text == "*" or text.startswith("*/") else _field(None, _plain(listed, low, high), low, high)
        for text, listed, (low, high) in zip(pattern.fields, values, bounds, strict=False)
    ]
    minute, hour, day, month, weekday = fields
    try:
        made = crontab(minute=minute, hour=hour, day_of_month=day, month_of_year=month, day_of_week=weekday)
    except ValueError:
        return None
    made.tz = get_zone(trigger.timezone)
    return made


def _plain(listed: Iterable[Any], low: int, high: int) -> set[int]:
    numbers = {number for number in listed if isinstance(number, int)}
    return numbers or set(range(low, high + 1))
