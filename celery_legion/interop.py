"""Between Celery's schedules and our triggers, in both directions, without a change of meaning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from celery.beat import ScheduleEntry
from celery.schedules import BaseSchedule, crontab, maybe_schedule, schedule

from celery_legion.config import app_timezone, zone_name
from celery_legion.errors import InvalidJobError, did_you_mean
from celery_legion.job import DEFAULT_POLICY, NOTHING, Action, Job, Policy, Source
from celery_legion.triggers import Cron, Interval, Trigger, TriggerError
from celery_legion.triggers.zones import get_zone

MILLISECOND = timedelta(milliseconds=1)
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

METHODS = ("is_due", "remaining_estimate", "remaining_delta", "_delta_to_next", "now", "to_local", "maybe_make_aware")
"""What decides when a schedule is due; a class that changes one of them means something of its own."""

TRIES = 1000
"""How often a schedule that says when to ask again is asked before it is taken to be over."""

PLAIN = (str, int, float, bool, timedelta)

Shared = dict[tuple[Any, ...], Mapping[str, Any]]
"""Options that many entries have alike, kept once."""


def to_trigger(value: Any, app: Any, relative: bool = False) -> tuple[Trigger, Any]:
    """Return the trigger of what stands as ``schedule`` in a ``beat_schedule`` entry, and Celery's object for it.

    Celery's ``crontab`` keeps its meaning (day of month AND day of week) and its zone: its own, or the app's.
    ``schedule``, timedeltas and numbers become intervals, rounded to the millisecond. What has a meaning that
    only Celery or the user's class knows (``solar``, ``relative=True``) is asked for its times.

    Raises:
        TriggerError: It can never fire.
        TypeError: It is no schedule.
    """
    if not isinstance(value, (BaseSchedule, timedelta, int, float)) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no schedule; use crontab, schedule, solar, a timedelta or seconds")
    made = maybe_schedule(value, relative, app=app)
    if _means_the_same(made, crontab):
        own = vars(made).get("tz") if type(made).tz is BaseSchedule.tz else made.tz
        zone = app_timezone(app) if own is None else zone_name(own)
        if zone is not None:
            return _cron(_expression(made), zone), made
    elif _means_the_same(made, schedule) and not made.relative:
        return _interval(made.run_every), made
    return CelerySchedule(made), made


def _means_the_same(made: Any, kind: Any) -> bool:
    return isinstance(made, kind) and all(
        getattr(type(made), name, None) is getattr(kind, name, None) for name in METHODS
    )


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
        if star == "*" and (written == "*" or step.isdigit()):
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
    task = entry.get("task")
    if not isinstance(task, str) or not task:
        raise InvalidJobError(name, "its beat_schedule entry names no task; give it a 'task'")
    for key in entry:
        if key not in ENTRY_KEYS:
            hint = did_you_mean(str(key), ENTRY_KEYS)
            cure = FOREIGN_KEYS.get(str(key), f"that means nothing{hint}; remove it")
            raise InvalidJobError(name, f"its beat_schedule entry has a key {key!r} {cure}")
    try:
        trigger, made = to_trigger(entry.get("schedule"), app, bool(entry.get("relative")))
    except (TriggerError, TypeError, ValueError) as exc:
        raise InvalidJobError(name, f"its beat_schedule entry has no schedule that works: {exc}") from exc
    try:
        options = _options(entry.get("options") or NOTHING, {} if shared is None else shared)
    except Exception as exc:
        raise InvalidJobError(name, f"its beat_schedule entry has options that cannot be copied: {exc}") from exc
    return Job(
        name=name,
        action=_action(task),
        trigger=trigger,
        args=tuple(entry.get("args") or ()),
        kwargs=entry.get("kwargs") or NOTHING,
        options=options,
        source=Source.BEAT,
        policy=policy,
        place="beat_schedule",
        schedule=made,
    )


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


class CelerySchedule:
    """A schedule that only Celery or a user's class can compute (solar, say) as a trigger.

    Two are equal if they are of one schedule object: Celery's own equality knows no zones.
    ``text`` is what it says of itself, the same in every process.
    """

    __slots__ = ("schedule", "text")

    def __init__(self, schedule: Any) -> None:
        self.schedule = schedule
        self.text = _text(schedule)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CelerySchedule) and self.schedule is other.schedule

    def __hash__(self) -> int:
        return hash((self.text, id(self.schedule)))

    def __repr__(self) -> str:
        return f"CelerySchedule({self.text!r})"

    def __str__(self) -> str:
        return self.text

    def next_after(self, moment: datetime) -> datetime | None:
        """Return what the schedule says is next when it has last run at *moment*, in UTC and whole milliseconds."""
        if moment.tzinfo is None:
            raise TriggerError(self.text, "was asked with a naive moment", "use an aware one")
        moment = moment.astimezone(UTC)
        # Beat asks in the schedule's zone, and some answers depend on it.
        last = moment.astimezone(self.schedule.tz)
        if _decides_by_asking(type(self.schedule)):
            return self._ask(moment, last)
        remaining = self._at(moment).remaining_estimate(last)
        return _whole_ms(moment + max(remaining, MILLISECOND))

    def _ask(self, moment: datetime, last: datetime) -> datetime | None:
        """Ask as beat does, but without waiting: is it due, and when to ask again?"""
        now = moment
        for _ in range(TRIES):
            due, wait = self._at(now).is_due(last)
            if due and now > moment:
                return now
            now = _whole_ms(now + max(timedelta(seconds=wait), MILLISECOND))
        return None

    def _at(self, now: datetime) -> Any:
        """A copy of the schedule for which it is *now*; its own way of being copied may lose attributes."""
        schedule = self.schedule
        clone = object.__new__(type(schedule))
        vars(clone).update(vars(schedule))
        clone.nowfun = lambda: now.astimezone(schedule.tz)
        return clone

    def anchored(self, moment: datetime) -> Trigger:
        """Return itself."""
        return self


class TriggerSchedule(BaseSchedule):
    """A trigger that none of Celery's own schedules can say, for those who ask an entry for its schedule."""

    def __init__(self, trigger: Trigger) -> None:
        super().__init__()
        self.trigger = trigger

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Return how long it is to the first fire after *last_run_at*; a year if there is none."""
        now = self.maybe_make_aware(self.now())
        fire = self.trigger.next_after(self.maybe_make_aware(last_run_at))
        return timedelta(days=365) if fire is None else fire - now.astimezone(UTC)

    def is_due(self, last_run_at: datetime) -> tuple[bool, float]:
        """Return whether a fire is due, and the seconds to the next."""
        remaining = self.remaining_estimate(last_run_at).total_seconds()
        if remaining > 0:
            return False, remaining
        return True, max(self.remaining_estimate(self.now()).total_seconds(), 0.0)

    def __repr__(self) -> str:
        return f"<trigger: {self.trigger}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TriggerSchedule) and self.trigger == other.trigger

    def __hash__(self) -> int:
        return hash(self.trigger)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.trigger,)


def _whole_ms(moment: datetime) -> datetime:
    rest = moment.microsecond % 1000
    return moment + timedelta(microseconds=1000 - rest) if rest else moment


def _decides_by_asking(kind: type) -> bool:
    """Whether ``is_due`` is more the class's own than ``remaining_estimate``: then only it knows."""
    for base in kind.__mro__:
        if "remaining_estimate" in vars(base):
            return base is BaseSchedule
        if "is_due" in vars(base):
            return True
    return True


def _text(schedule: Any) -> str:
    kind = type(schedule)
    own = vars(schedule)
    if getattr(kind, "__repr__", None) is object.__repr__:
        plain = sorted((name, value) for name, value in own.items() if isinstance(value, PLAIN))
        text = f"<{kind.__module__}.{kind.__qualname__}{''.join(f' {name}={value}' for name, value in plain)}>"
    else:
        text = repr(schedule)
    if own.get("relative"):
        text += " relative"
    zone = zone_name(own.get("tz"))
    return text if zone is None else f"{text} {zone}"
