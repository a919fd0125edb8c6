"""Cron by brute force: a walk through real time that looks at the zone's wall clock at every step.

It shares nothing with the package. A field is a set of numbers (a predicate of the date for days), and daylight saving
is what the wall clock is seen to do: it jumps over some times, which is a gap, and shows others twice, an overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
CORRECTION = timedelta(hours=3)
"""cron(8): a longer gap corrects the clock, and its times are dropped."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """One field: what was written, and the numbers it means."""

    text: str
    values: frozenset[int]

    @property
    def starred(self) -> bool:
        return self.text.startswith("*")


@dataclass(frozen=True, slots=True)
class Day:
    """A day field: what was written, and whether it holds on a date."""

    text: str
    holds: Callable[[date], bool]

    @property
    def starred(self) -> bool:
        return self.text.startswith("*")


@dataclass(frozen=True, slots=True, kw_only=True)
class CronModel:
    """The fires of one expression in one zone."""

    minute: Numbers
    hour: Numbers
    day: Day
    month: Numbers
    weekday: Day
    second: Numbers | None
    days: Literal["vixie", "or", "and"]
    zone: ZoneInfo

    @property
    def expression(self) -> str:
        fields = [self.minute.text, self.hour.text, self.day.text, self.month.text, self.weekday.text]
        return " ".join(fields if self.second is None else [*fields, self.second.text])

    @property
    def follows_clock(self) -> bool:
        return self.minute.starred or self.hour.starred

    @property
    def step(self) -> timedelta:
        return MINUTE if self.second is None else SECOND

    def on(self, today: date) -> bool:
        """Whether the expression has times on this date."""
        if today.month not in self.month.values:
            return False
        by_day, by_weekday = self.day.holds(today), self.weekday.holds(today)
        # crontab has no '#'; where it is taken beside days of the month, it means one of these.
        if self.days == "and" or "#" in self.weekday.text:
            return by_day and by_weekday
        if self.days == "vixie":
            both = self.day.starred or self.weekday.starred
        else:
            both = self.day.text == "*" or self.weekday.text == "*"
        return (by_day and by_weekday) if both else (by_day or by_weekday)

    def shows(self, wall: datetime) -> bool:
        """Whether a wall clock is one of the expression's."""
        if wall.minute not in self.minute.values or wall.hour not in self.hour.values:
            return False
        if wall.second not in (frozenset({0}) if self.second is None else self.second.values):
            return False
        return self.on(wall.date())

    def fires(self, start: datetime, end: datetime) -> list[datetime]:
        """Return the fires later than *start* (in UTC), up to *end*."""
        return [fire for fire in self._walk(start, end) if start < fire <= end]

    def _walk(self, start: datetime, end: datetime) -> Iterator[datetime]:
        moment = start.replace(second=0, microsecond=0) - MINUTE
        previous = self._wall(moment)[0]
        while moment < end:
            moment += self.step
            wall, again = self._wall(moment)
            if self.follows_clock:
                due = self.shows(wall)
            elif again:
                due = False
            else:
                due = self.shows(wall) or self._missed(previous, wall)
            if due:
                yield moment
            previous = wall

    def _missed(self, previous: datetime, wall: datetime) -> bool:
        """Whether the clock has just jumped over one of the expression's times."""
        missing = previous + self.step
        if not missing < wall or wall - missing > CORRECTION:
            return False
        while missing < wall:
            if self.shows(missing):
                return True
            missing += self.step
        return False

    def _wall(self, moment: datetime) -> tuple[datetime, bool]:
        local = moment.astimezone(self.zone)
        return local.replace(tzinfo=None, fold=0), bool(local.fold)


def transitions(zone: ZoneInfo, first: int, last: int) -> list[datetime]:
    """Return the instants between two years at which the zone's offset changes, to the second."""
    found = []
    moment, end = datetime(first, 1, 1, tzinfo=UTC), datetime(last, 1, 1, tzinfo=UTC)
    while moment < end:
        following = moment + timedelta(days=4)
        if _offset(moment, zone) != _offset(following, zone):
            low, high = moment, following
            while high - low > SECOND:
                middle = low + (high - low) // SECOND // 2 * SECOND
                low, high = (middle, high) if _offset(middle, zone) == _offset(low, zone) else (low, middle)
            found.append(high)
        moment = following
    return found


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta | None:
    return moment.astimezone(zone).utcoffset()
