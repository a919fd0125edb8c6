"""Frequencies: the fluent words for when a job fires: days, dates and times."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, time, tzinfo
from typing import Any, Self

from celery_legion.job import Between
from celery_legion.repetition import Repetition, numbers
from celery_legion.timing import Calendar, CronText, Foreign, Moment, TimingError, parse_moment
from celery_legion.triggers import Trigger
from celery_legion.weekday import parse_weekdays

TimeOfDay = str | int | time
"""A wall-clock time: ``"13:00"``, ``"7"`` or ``7`` (the full hour), ``"23:59:30"``, or a naive time."""


def parse_time(value: TimeOfDay) -> time:
    """Return the wall-clock time that *value* says."""
    if isinstance(value, time) and value.tzinfo is None:
        return value.replace(microsecond=0)
    parts = str(value).split(":")
    if isinstance(value, (str, int)) and not isinstance(value, bool) and 1 <= len(parts) <= 3:
        try:
            if all(part.isascii() and part.isdigit() and len(part) <= 2 for part in parts):
                hour, minute, second = (int(part) for part in (*parts, "0", "0")[:3])
                return time(hour, minute, second)
        except ValueError:
            pass
    raise TimingError(f"{value!r} is no time of day; write it like '13:00'")


class Frequency(Repetition):
    """When a job fires, in words. One word names the base; days, times and zone may come in any order.

    Times of day and days are meant in the job's :meth:`timezone`. Day constraints (:meth:`weekdays`, :meth:`mondays` …)
    add up, never touch the time, and work with any base. A word that contradicts an earlier one makes the job invalid.
    """

    __slots__ = ()

    def _calendar(self, *, at: Iterable[Any] = (), **fields: Any) -> Self:
        return self._base(Calendar(**fields))._times(at)

    def _times(self, times: Iterable[Any]) -> Self:
        flat = [one for value in times for one in (value if isinstance(value, (list, tuple)) else (value,))]
        self._checked(self._timing.add_times, [self._checked(parse_time, one) for one in flat if one is not None])
        return self

    def _days_of_month(self, *days: Any) -> str:
        return self._checked(numbers, days, 1, 31, "day of the month")

    def cron(self, expression: str, *, seconds: str | None = None, days: str = "vixie") -> Self:
        """Fire at the times of a cron expression; see ``Cron`` for its fields and keywords.

        Of six fields the last one is the seconds, unless *seconds* is ``first``.
        """
        return self._base(CronText(expression, seconds, days))

    def trigger(self, trigger: Trigger | object) -> Self:
        """Fire when *trigger* does: a ``Cron``, ``Interval``, ``Once``, ``Union``, or one of Celery's schedules."""
        return self._base(Foreign(trigger))

    def once(self, moment: datetime | str) -> Self:
        """Fire one time; a naive moment is in the job's zone, text is ISO 8601."""
        return self._base(Moment(self._checked(parse_moment, moment)))

    def daily(self) -> Self:
        """Fire each day, at midnight unless :meth:`at` says otherwise."""
        return self._calendar()

    def daily_at(self, *times: TimeOfDay) -> Self:
        """Fire each day at these times."""
        return self._calendar(at=times)

    def twice_daily(self, first: int = 1, second: int = 13) -> Self:
        """Fire each day at two full hours."""
        return self.twice_daily_at(first, second)

    def twice_daily_at(self, first: int = 1, second: int = 13, minute: int = 0) -> Self:
        """Fire each day at one minute of two hours."""
        return self._calendar(at=(f"{first}:{minute}", f"{second}:{minute}"))

    def weekly(self) -> Self:
        """Fire once a week: Sunday at midnight, or on the day and at the time that other words say."""
        return self._calendar(usual=frozenset({6}))

    def weekly_on(self, *days: Any, at: TimeOfDay | None = None) -> Self:
        """Fire each week on these days; for how to write them see :meth:`days`."""
        return self._calendar(at=(at,), weekdays=self._checked(parse_weekdays, days))

    def monthly(self) -> Self:
        """Fire on the first day of each month."""
        return self._calendar(day="1")

    def monthly_on(self, day: int = 1, *, at: TimeOfDay | None = None) -> Self:
        """Fire on one day of each month that has it."""
        return self._calendar(at=(at,), day=self._days_of_month(day))

    def twice_monthly(self, first: int = 1, second: int = 16, *, at: TimeOfDay | None = None) -> Self:
        """Fire on two days of each month."""
        return self._calendar(at=(at,), day=self._days_of_month(first, second))

    def last_day_of_month(self, *, at: TimeOfDay | None = None) -> Self:
        """Fire on the last day of each month, whatever its number."""
        return self._calendar(at=(at,), day="L")

    def days_of_month(self, *days: int, at: TimeOfDay | None = None) -> Self:
        """Fire on these days of each month."""
        return self._calendar(at=(at,), day=self._days_of_month(*days))

    def quarterly(self) -> Self:
        """Fire on the first day of January, April, July and October."""
        return self.quarterly_on()

    def quarterly_on(self, day: int = 1, *, at: TimeOfDay | None = None) -> Self:
        """Fire on one day of January, April, July and October."""
        return self._calendar(at=(at,), day=self._days_of_month(day), month="1,4,7,10")

    def yearly(self) -> Self:
        """Fire on the first of January."""
        return self.yearly_on()

    def yearly_on(self, month: int = 1, day: int = 1, *, at: TimeOfDay | None = None) -> Self:
        """Fire on one date of each year that has it."""
        months = self._checked(numbers, (month,), 1, 12, "month")
        return self._calendar(at=(at,), day=self._days_of_month(day), month=months)

    def at(self, *times: TimeOfDay) -> Self:
        """Fire at these times of the days that the other words say; alone: each day."""
        return self._times(times)

    def days(self, *weekdays: Any) -> Self:
        """Fire on these weekdays only.

        Each is a name (``"mon"``, ``"Monday"``; preferred), a ``Weekday``, or a number from 0, Monday, to 6, Sunday,
        as Python counts them.
        """
        self._timing.add_weekdays(self._checked(parse_weekdays, weekdays))
        return self

    def weekdays(self) -> Self:
        """Fire from Monday to Friday only."""
        return self.days(0, 1, 2, 3, 4)

    def weekends(self) -> Self:
        """Fire on Saturdays and Sundays only."""
        return self.days(5, 6)

    def mondays(self) -> Self:
        """Fire on Mondays only."""
        return self.days(0)

    def tuesdays(self) -> Self:
        """Fire on Tuesdays only."""
        return self.days(1)

    def wednesdays(self) -> Self:
        """Fire on Wednesdays only."""
        return self.days(2)

    def thursdays(self) -> Self:
        """Fire on Thursdays only."""
        return self.days(3)

    def fridays(self) -> Self:
        """Fire on Fridays only."""
        return self.days(4)

    def saturdays(self) -> Self:
        """Fire on Saturdays only."""
        return self.days(5)

    def sundays(self) -> Self:
        """Fire on Sundays only."""
        return self.days(6)

    def timezone(self, zone: str | tzinfo) -> Self:
        """Mean every time and day in this zone (an IANA name, or a tzinfo) instead of in ``legion_timezone``."""
        self._checked(self._timing.set_timezone, zone)
        return self

    def between(self, start: TimeOfDay, end: TimeOfDay) -> Self:
        """Run only what fires from *start* to before *end*, which may lie past midnight; the rest is skipped."""
        return self._window(start, end, inside=True)

    def unless_between(self, start: TimeOfDay, end: TimeOfDay) -> Self:
        """Run nothing that fires from *start* to before *end*, which may lie past midnight."""
        return self._window(start, end, inside=False)

    def _window(self, start: TimeOfDay, end: TimeOfDay, *, inside: bool) -> Self:
        window = Between(self._checked(parse_time, start), self._checked(parse_time, end), inside=inside)
        if window.start == window.end:
            raise self._fault(f"a window from {start!r} to {end!r} is empty; name two different times")
        self._timing.windows.append(window)
        return self
