"""Repetition: the fluent words for jobs that fire again and again within a day."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, ParamSpec, Self, TypeVar

from celery_legion.duration import Duration, parse_duration
from celery_legion.errors import LegionError
from celery_legion.timing import Base, Calendar, Span, Timing, TimingError

P = ParamSpec("P")
T = TypeVar("T")


def numbers(values: Iterable[Any], low: int, high: int, what: str) -> str:
    """Return whole numbers, given one by one or in lists, as a field of cron."""
    flat = [one for value in values for one in (value if isinstance(value, (list, tuple, set)) else (value,))]
    for one in flat:
        if not isinstance(one, int) or isinstance(one, bool) or not low <= one <= high:
            raise TimingError(f"{one!r} is no {what}; use a number from {low} to {high}")
    if not flat:
        raise TimingError(f"no {what} is given; name at least one")
    return ",".join(str(number) for number in sorted(set(flat)))


class Repetition:
    """When a job fires that repeats within a day: on the clock's grid, or (:meth:`every`) on its own."""

    __slots__ = ("_timing",)

    def __init__(self) -> None:
        self._timing = Timing()

    def _fault(self, problem: object) -> LegionError:
        """Return the error for *problem*; a builder adds which job is meant, and where."""
        return TimingError(str(problem))

    def _checked(self, make: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return make(*args, **kwargs)
        except LegionError as exc:
            raise self._fault(exc) from exc

    def _base(self, base: Base) -> Self:
        self._checked(self._timing.set_base, base)
        return self

    def _every(self, *, minute: Any = "0", hour: str = "*", second: str | None = None) -> Self:
        text = minute if isinstance(minute, str) else self._checked(numbers, (minute,), 0, 59, "minute")
        return self._base(Calendar(minute=text, hour=hour, second=second, fixed=False))

    def every(self, duration: Duration, *, anchor: datetime | None = None) -> Self:
        """Fire every ``"90s"``, timedelta or seconds, from *anchor* on or from when the job is first seen."""
        return self._base(Span(self._checked(parse_duration, duration), anchor))

    def every_second(self) -> Self:
        """Fire each second."""
        return self._every(minute="*", second="*")

    def every_two_seconds(self) -> Self:
        """Fire at the even seconds."""
        return self._every(minute="*", second="*/2")

    def every_five_seconds(self) -> Self:
        """Fire at the seconds 0, 5, 10 …"""
        return self._every(minute="*", second="*/5")

    def every_ten_seconds(self) -> Self:
        """Fire at the seconds 0, 10, 20 …"""
        return self._every(minute="*", second="*/10")

    def every_fifteen_seconds(self) -> Self:
        """Fire at the seconds 0, 15, 30 and 45."""
        return self._every(minute="*", second="*/15")

    def every_twenty_seconds(self) -> Self:
        """Fire at the seconds 0, 20 and 40."""
        return self._every(minute="*", second="*/20")

    def every_thirty_seconds(self) -> Self:
        """Fire at the seconds 0 and 30."""
        return self._every(minute="*", second="*/30")

    def every_minute(self) -> Self:
        """Fire each minute."""
        return self._every(minute="*")

    def every_two_minutes(self) -> Self:
        """Fire at the even minutes."""
        return self._every(minute="*/2")

    def every_three_minutes(self) -> Self:
        """Fire at the minutes 0, 3, 6 …"""
        return self._every(minute="*/3")

    def every_four_minutes(self) -> Self:
        """Fire at the minutes 0, 4, 8 …"""
        return self._every(minute="*/4")

    def every_five_minutes(self) -> Self:
        """Fire at the minutes 0, 5, 10 …"""
        return self._every(minute="*/5")

    def every_ten_minutes(self) -> Self:
        """Fire at the minutes 0, 10, 20 …"""
        return self._every(minute="*/10")

    def every_fifteen_minutes(self) -> Self:
        """Fire at the minutes 0, 15, 30 and 45."""
        return self._every(minute="*/15")

    def every_thirty_minutes(self) -> Self:
        """Fire at the minutes 0 and 30."""
        return self._every(minute="*/30")

    def hourly(self) -> Self:
        """Fire at each full hour."""
        return self._every()

    def hourly_at(self, *minutes: int) -> Self:
        """Fire each hour at these minutes."""
        return self._every(minute=list(minutes))

    def every_odd_hour(self, minute: int = 0) -> Self:
        """Fire at 1:00, 3:00 … 23:00, or at another minute of these hours."""
        return self._every(minute=minute, hour="1-23/2")

    def every_two_hours(self, minute: int = 0) -> Self:
        """Fire at 0:00, 2:00, 4:00 …, or at another minute of these hours."""
        return self._every(minute=minute, hour="*/2")

    def every_three_hours(self, minute: int = 0) -> Self:
        """Fire at 0:00, 3:00, 6:00 …, or at another minute of these hours."""
        return self._every(minute=minute, hour="*/3")

    def every_four_hours(self, minute: int = 0) -> Self:
        """Fire at 0:00, 4:00, 8:00 …, or at another minute of these hours."""
        return self._every(minute=minute, hour="*/4")

    def every_six_hours(self, minute: int = 0) -> Self:
        """Fire at 0:00, 6:00, 12:00 and 18:00, or at another minute of these hours."""
        return self._every(minute=minute, hour="*/6")

    def every_eight_hours(self, minute: int = 0) -> Self:
        """Fire at 0:00, 8:00 and 16:00, or at another minute of these hours."""
        return self._every(minute=minute, hour="*/8")

    def every_twelve_hours(self, minute: int = 0) -> Self:
        """Fire at 0:00 and 12:00, or at another minute of these hours."""
        return self._every(minute=minute, hour="*/12")
