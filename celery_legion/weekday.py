"""Weekdays, and the ways in which people write them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any

from celery_legion.errors import LegionError, did_you_mean


class Weekday(IntEnum):
    """The days of the week, numbered as Python's ``date.weekday`` does (cron counts from Sunday; we never do)."""

    MONDAY = 0
    TUESDAY = 1
    WEDNESDAY = 2
    THURSDAY = 3
    FRIDAY = 4
    SATURDAY = 5
    SUNDAY = 6


NAMES = {day.name.lower(): day for day in Weekday} | {day.name[:3].lower(): day for day in Weekday}


class WeekdayError(LegionError, ValueError):
    """A value is no weekday."""

    def __init__(self, got: object) -> None:
        super().__init__(got)
        self.got = got

    def __str__(self) -> str:
        hint = did_you_mean(self.got.lower(), NAMES) if isinstance(self.got, str) else ""
        advice = "use names like 'mon' or 'monday', or numbers from 0, Monday, to 6, Sunday"
        return f"{self.got!r} is no weekday{hint}; {advice}"


def parse_weekdays(values: Iterable[Any]) -> frozenset[int]:
    """Return the weekdays that *values* name; each is a name, several with commas, a number, or a list of these.

    Raises:
        WeekdayError: One is none, or there are none at all.
    """
    days = frozenset(int(day) for value in values for day in _parse(value))
    if not days:
        raise WeekdayError("")
    return days


def _parse(value: Any) -> list[Weekday]:
    if isinstance(value, (list, tuple, set, frozenset)):
        return [day for one in value for day in _parse(one)]
    if isinstance(value, str) and "," in value:
        return [day for one in value.split(",") for day in _parse(one)]
    if isinstance(value, str) and value.strip().lower() in NAMES:
        return [NAMES[value.strip().lower()]]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 6:
        return [Weekday(value)]
    raise WeekdayError(value)
