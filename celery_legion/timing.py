"""Timings: what was said of when a job fires, piece by piece, and the trigger it comes to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta, tzinfo
from typing import Any, Literal, get_args

from celery_legion.errors import LegionError
from celery_legion.job import Between
from celery_legion.triggers import Cron, Interval, Once, Restricted, Trigger, TriggerError, Union
from celery_legion.triggers.zone_object import zone_name
from celery_legion.triggers.zones import get_zone

FULL_WEEK = frozenset(range(7))
MIDNIGHT = time()
Seconds = Literal["last", "first"]
SECONDS_FIRST = "If its seconds stand first, as in Quartz and Spring, say seconds='first'"
Days = Literal["vixie", "or", "and"]


class TimingError(LegionError, ValueError):
    """What was said of a job's times is wrong or contradicts itself."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return self.problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Fields of a calendar rule in cron's notation; ``weekdays`` counts from 0, Monday.

    ``fixed`` rules fire at times of day and take others by ``at``. ``usual`` are the weekdays that hold
    as long as nothing else is said of days.
    """

    minute: str = "0"
    hour: str = "0"
    second: str | None = None
    day: str = "*"
    month: str = "*"
    weekdays: frozenset[int] | None = None
    usual: frozenset[int] | None = None
    fixed: bool = True


@dataclass(frozen=True, slots=True)
class CronText:
    """A cron expression as the user wrote it."""

    expression: str
    seconds: str | None = None
    days: str = "vixie"

    def trigger(self, zone: str) -> Cron:
        """Return the expression as a trigger in *zone*.

        Raises:
            TimingError: It has six fields, and it was not said which are the seconds though they seem to be the first.
            TriggerError: It is wrong.
        """
        days = _literal(self.days, Days, "days")
        if self.seconds is not None:
            return Cron(self.expression, zone, seconds=_literal(self.seconds, Seconds, "seconds"), days=days)
        try:
            made = Cron(self.expression, zone, days=days)
        except TriggerError as exc:
            if self._may_begin_with_seconds(zone, days):
                raise TimingError(f"{exc}. {SECONDS_FIRST}") from exc
            raise
        minute, *_, last = made.pattern.fields
        every_second = len(made.pattern.fields) == 6 and last in ("*", "?") and not minute.startswith("*")
        if every_second and self._may_begin_with_seconds(zone, days):
            shown = f"cron expression {self.expression!r} fires in each second of its minutes"
            raise TimingError(f"{shown}; say seconds='last' if that is meant. {SECONDS_FIRST}")
        return made

    def _may_begin_with_seconds(self, zone: str, days: Days) -> bool:
        try:
            return len(Cron(self.expression, zone, seconds="first", days=days).pattern.fields) == 6
        except TriggerError:
            return False


@dataclass(frozen=True, slots=True)
class Span:
    """An interval; a naive anchor is in the job's zone."""

    every: timedelta
    anchor: datetime | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """One date; a naive one is in the job's zone."""

    moment: datetime


@dataclass(frozen=True, slots=True)
class Foreign:
    """A ready trigger, or one of Celery's schedules."""

    given: Any


Base = Calendar | CronText | Span | Moment | Foreign
Translate = Callable[[Any], Trigger]
"""Makes a trigger of one of Celery's schedules."""


@dataclass(slots=True)
class Timing:
    """What was said so far; :meth:`trigger` makes it final."""

    base: Base | None = None
    times: tuple[time, ...] = ()
    weekdays: frozenset[int] = frozenset()
    timezone: str | None = None
    windows: list[Between] = field(default_factory=list)

    def set_base(self, base: Base) -> None:
        """Say the base; raises when there is one, and when it can never work in any zone."""
        if self.base is not None:
            raise TimingError("two frequencies are given; name one, or make it two jobs")
        if isinstance(base, CronText):
            base.trigger("UTC")
        elif isinstance(base, Span):
            Interval(base.every)
        self.base = base
        self._check_times()

    def add_times(self, times: Iterable[time]) -> None:
        """Say times of day; raises when some were said before."""
        added = tuple(sorted(set(times)))
        if not added:
            return
        if self.times:
            raise TimingError("times of day are given twice; name them all in one place")
        self.times = added
        self._check_times()

    def add_weekdays(self, weekdays: frozenset[int]) -> None:
        """Allow these weekdays too."""
        self.weekdays |= weekdays

    def set_timezone(self, zone: str | tzinfo) -> None:
        """Say the zone; raises ``UnknownZoneError``."""
        name = zone if isinstance(zone, str) else zone_name(zone)
        get_zone(name or repr(zone))
        self.timezone = name

    def _check_times(self) -> None:
        if self.times and not (self.base is None or (isinstance(self.base, Calendar) and self.base.fixed)):
            raise TimingError("its frequency has times of its own, which at() cannot set; use daily() or the like")

    def trigger(self, zone: str, translate: Translate) -> Trigger:
        """Return the trigger; *zone* holds where none was said.

        Raises:
            TimingError: No frequency was said, or no day is left.
            TriggerError: It can never fire.
        """
        zone = self.timezone or zone
        base = self.base
        if base is None:
            if not self.times:
                raise TimingError("it has no frequency; add one such as .hourly() or .daily_at('02:00')")
            base = Calendar()
        if isinstance(base, Calendar):
            return self._calendar(base, zone)
        if isinstance(base, CronText):
            return self._cron(base.trigger(zone), zone)
        if isinstance(base, Span):
            return self._restricted(Interval(base.every, _aware(base.anchor, zone) if base.anchor else None), zone)
        if isinstance(base, Moment):
            return self._restricted(Once(_aware(base.moment, zone)), zone)
        given = base.given
        if not hasattr(given, "next_after"):
            return self._restricted(translate(given), zone)
        if not callable(getattr(given, "anchored", None)) or type(given).__hash__ is None:
            kind = type(given).__name__
            raise TimingError(f"{kind} is no whole trigger: besides next_after it needs anchored(moment), and a hash")
        return self._restricted(given, zone)

    def between(self, zone: str) -> tuple[Between, ...]:
        """Return the windows; *zone* holds where none was said."""
        return tuple(replace(window, timezone=self.timezone or zone) for window in self.windows)

    def _restricted(self, trigger: Trigger, zone: str) -> Trigger:
        if not self.weekdays or self.weekdays == FULL_WEEK:
            return trigger
        return Restricted(trigger, self.weekdays, zone)

    def _cron(self, trigger: Cron, zone: str) -> Trigger:
        minute, hour, day, month, weekday, *second = trigger.pattern.fields
        if not self.weekdays or weekday not in ("*", "?"):
            return self._restricted(trigger, zone)
        return _cron((minute, hour, day, month), self.weekdays, second, zone)

    def _calendar(self, base: Calendar, zone: str) -> Trigger:
        weekdays = base.weekdays
        if self.weekdays:
            weekdays = self.weekdays if weekdays is None else weekdays & self.weekdays
            if not weekdays:
                raise TimingError("its weekdays exclude each other, so it would never fire; name one set of days")
        elif weekdays is None:
            weekdays = base.usual
        if not base.fixed or not self.times:
            second = [] if base.second is None else [base.second]
            return _cron((base.minute, base.hour, base.day, base.month), weekdays, second, zone)
        hours: dict[tuple[int, int], list[str]] = {}
        for at in self.times:
            hours.setdefault((at.minute, at.second), []).append(str(at.hour))
        triggers = [
            _cron((str(minute), ",".join(at), base.day, base.month), weekdays, [str(second)] if second else [], zone)
            for (minute, second), at in hours.items()
        ]
        return triggers[0] if len(triggers) == 1 else Union(*triggers)


def parse_moment(moment: datetime | str) -> datetime:
    """Return a date as it is, or of ISO 8601 text; it may be naive."""
    try:
        return datetime.fromisoformat(moment) if isinstance(moment, str) else moment + timedelta(0)
    except (TypeError, ValueError):
        raise TimingError(f"{moment!r} is no date; use a datetime or text like '2030-12-31 18:00'") from None


def _aware(moment: datetime, zone: str) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=get_zone(zone))


def _cron(fields: tuple[str, str, str, str], weekdays: frozenset[int] | None, second: list[str], zone: str) -> Cron:
    """Return a cron of rendered fields: both its day fields must match where both are restricted."""
    minute, hour, day, month = fields
    weekday = "*" if weekdays is None or weekdays == FULL_WEEK else render_weekdays(weekdays)
    both = weekday != "*" and day not in ("*", "?")
    return Cron(" ".join([minute, hour, day, month, weekday, *second]), zone, days="and" if both else "vixie")


def render_weekdays(weekdays: frozenset[int]) -> str:
    """Return cron's field of weekdays that count from 0, Monday; cron counts from 0, Sunday."""
    if weekdays == frozenset(range(5)):
        return "1-5"
    return ",".join(str(day) for day in sorted((day + 1) % 7 for day in weekdays))


def _literal(value: str, known: Any, name: str) -> Any:
    if value not in get_args(known):
        raise TimingError(f"{name}={value!r} is unknown; use one of {', '.join(get_args(known))}")
    return value
