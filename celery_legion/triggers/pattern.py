"""Cron expressions: parsed by croniter once, and refused where croniter would misread them."""

from __future__ import annotations

import re
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Literal

from croniter import CroniterBadDateError, croniter

from celery_legion.triggers.errors import CronError

Seconds = Literal["last", "first"]
Days = Literal["vixie", "or", "and"]

LENGTH_LIMIT = 256
LAST_YEAR = 9900
ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
NAMES = ("minute", "hour", "day-of-month", "month", "day-of-week", "second")
BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7), (0, 59))
MINUTE, HOUR, DAY, MONTH, WEEKDAY, SECOND = range(6)
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
RANGE = re.compile(r"([^-/#]+)-([^-/#]+)(?:/(\d+))?(?:#\d+)?", re.ASCII)
STEP = re.compile(r"(\*|[^-/#]+-[^-/#]+)/(\d+)", re.ASCII)
LONG_NAMES = re.compile(
    r"sunday|monday|tuesday|tues|wednesday|thursday|thurs|thur|friday|saturday"
    r"|january|february|march|april|june|july|august|september|sept|october|november|december"
)
ZONE = re.compile(r"(?:cron_)?tz=(\S*)\s*")
EVERY = re.compile(r"@every\s+(\S+)")
HASHED = re.compile(r"[hr](\(.*|/.*)?")
REFERENCE = datetime.fromisoformat("2000-01-01")
"""Where the search for a first date starts: the 50 years from here hold every weekday of every date."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """The wall-clock times of one expression.

    ``fields`` are in lower case, in croniter's order (seconds last). ``follows_clock``
    is cron(8)'s wildcard job: minute or hour starts with ``*``. ``either_day`` is true
    when both day fields are restricted and one of them is enough.
    """

    fields: tuple[str, ...]
    follows_clock: bool
    either_day: bool
    template: croniter[datetime] = field(repr=False, compare=False)

    def next_wall(self, wall: datetime) -> datetime | None:
        """Return the first matching naive wall clock after *wall* (whole seconds), or None in 50 years."""
        if wall.year > LAST_YEAR:
            return None
        # croniter keeps its position on itself; a copy makes the shared pattern safe in threads.
        try:
            return copy(self.template).get_next(datetime, start_time=wall)
        except CroniterBadDateError:
            return None


@lru_cache(maxsize=4096)
def parse(expression: str, seconds: Seconds, days: Days) -> Pattern:
    """Return the pattern of *expression*; raises ``CronError``, which shows the faulty field."""
    fields = _split(expression, seconds)
    for index, text in enumerate(fields):
        _check_items(expression, index, text)
    try:
        template = croniter(
            " ".join(fields),
            start_time=REFERENCE,
            ret_type=datetime,
            day_or=days != "and",
            implement_cron_bug=days == "vixie",
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(expression, fields, error) from None
    for index, text in enumerate(fields):
        _check_ranges(expression, index, text)
        _check_step(expression, index, text)
    starred = fields[DAY].startswith("*") or fields[WEEKDAY].startswith("*")
    restricted = not {"*", "?"} & {fields[DAY], fields[WEEKDAY]}
    either_day = restricted and (days == "or" or (days == "vixie" and not starred))
    if either_day:
        either_day = _check_days(expression, fields)
    follows_clock = fields[MINUTE].startswith("*") or fields[HOUR].startswith("*")
    pattern = Pattern(fields, follows_clock, either_day, template)
    if pattern.next_wall(REFERENCE) is None:
        shown = f"day-of-month {fields[DAY]!r}, month {fields[MONTH]!r} and day-of-week {fields[WEEKDAY]!r}"
        raise CronError(expression, f"no date matches {shown}", "name a day that exists")
    return pattern


def _split(expression: str, seconds: Seconds) -> tuple[str, ...]:
    if len(expression) > LENGTH_LIMIT:
        raise CronError(expression, f"{len(expression)} characters are too many", f"use at most {LENGTH_LIMIT}")
    text = expression.strip().lower()
    if not text.isascii():
        raise CronError(expression, "it holds characters that are not ASCII", "retype it by hand")
    if (zone := ZONE.match(text)) is not None:
        # As it was written: zones have capitals.
        name = expression.strip()[zone.start(1) : zone.end(1)] or "Europe/Berlin"
        raise CronError(expression, "it names its time zone itself", f"leave that out, and say timezone={name!r}")
    if any(field.startswith("#") for field in text.split()):
        raise CronError(expression, "it has a comment", "leave out what stands from the # on")
    if text.startswith("@"):
        if (every := EVERY.fullmatch(text)) is not None:
            raise CronError(expression, "@every is an interval", f"use every({every[1]!r})")
        if text not in ALIASES:
            raise CronError(expression, "no such alias", f"use one of {', '.join(ALIASES)}")
        text = ALIASES[text]
    fields = text.split()
    if len(fields) not in (5, 6):
        raise CronError(
            expression,
            f"{len(fields)} fields instead of five",
            "write minute, hour, day-of-month, month and day-of-week, and seconds as the sixth if need be",
        )
    if len(fields) == 6 and seconds == "first":
        fields.append(fields.pop(0))
    return tuple(fields)


def _check_items(expression: str, index: int, text: str) -> None:
    if HASHED.fullmatch(text):
        raise _fault(expression, index, text, "is random or hashed", "write the value itself")
    items = text.split(",")
    if index in (MONTH, WEEKDAY) and (long := LONG_NAMES.search(text)) is not None:
        raise _fault(expression, index, text, "has a name in full", f"write {long[0][:3]!r} for {long[0]!r}")
    special = [item for item in items if "#" in item or item.startswith("l")]
    if index == WEEKDAY and special and len(special) < len(items):
        raise _fault(expression, index, text, "mixes weekdays with '#' or 'L' and weekdays without", "use two jobs")


def _check_ranges(expression: str, index: int, text: str) -> None:
    for item in text.split(","):
        match = RANGE.fullmatch(item)
        if match is None:
            continue
        low, high, step = _value(index, match[1]), _value(index, match[2]), int(match[3] or 1)
        if index == WEEKDAY and high == 7 and low != 0:
            high = 0
        if index == WEEKDAY and low == 7:
            low = 0
        if low == high:
            raise _fault(
                expression, index, text, f"has a range {item!r} of one value", f"write {match[1]!r}, or '*' for all"
            )
        if low > high and index == DAY:
            raise _fault(expression, index, text, f"has a reversed range {item!r}", f"write '{low}-31,1-{high}'")
        if low > high and step > 1:
            _check_phase(expression, index, text, low, high, step)


def _check_step(expression: str, index: int, text: str) -> None:
    """Refuse a step longer than its range, ``*/90``: it is no interval. ``*/60`` means what it seems to."""
    if index == WEEKDAY:
        # A known way to say Sunday so that both day fields must match.
        return
    for item in text.split(","):
        match = STEP.fullmatch(item)
        if match is None:
            continue
        low, high = BOUNDS[index]
        if match[1] != "*":
            low, high = (_value(index, part) for part in match[1].split("-"))
        if 0 <= high - low < int(match[2]) - 1:
            advice = f"write {low} if that is meant; an interval is every(...), not a step of cron's"
            raise _fault(expression, index, text, f"steps past its end, so it means {low} alone", advice)


def _check_phase(expression: str, index: int, text: str, low: int, high: int, step: int) -> None:
    start, end = BOUNDS[index]
    cycle = 7 if index == WEEKDAY else end - start + 1
    meant = {start + (low - start + passed) % cycle for passed in range(0, (high - low) % cycle + 1, step)}
    if set(_expand(index, f"{low}-{high}/{step}")) != meant:
        listed = ",".join(str(value) for value in sorted(meant))
        raise _fault(expression, index, text, "loses its step where it wraps around", f"write {listed!r}")


def _check_days(expression: str, fields: tuple[str, ...]) -> bool:
    """Return whether either day may match, and refuse a listed ``*``, ``W`` and ``#``, which croniter takes otherwise.

    It demands both days with ``W`` and ``#``, or drops one of them. The one thing it cannot
    get wrong is days of month that hold every date the weekdays can fall on: ``1-7`` and ``fri#1``.
    """
    for index in (DAY, WEEKDAY):
        if "*" in fields[index].split(","):
            raise _fault(expression, index, fields[index], "lists '*' among others", "write '*' alone or leave it out")
    if "w" in fields[DAY]:
        named = (DAY, "has 'W' while day-of-week is restricted too")
    else:
        weeks = [int(week) for week in re.findall(r"#(\d)", fields[WEEKDAY])]
        last = any(item.startswith("l") for item in fields[WEEKDAY].split(","))
        if not weeks and not last:
            return True
        reach = {day for week in weeks for day in range(7 * week - 6, min(7 * week, 31) + 1)}
        if last:
            reach |= set(range(22, 32))
        if reach <= set(_expand(DAY, fields[DAY])):
            return False
        named = (WEEKDAY, "has '#' or 'L' while day-of-month is restricted too")
    index, fault = named
    raise _fault(expression, index, fields[index], fault, "pass days='and' if both must match, else use two jobs")


def _value(index: int, text: str) -> int:
    if text.isdigit():
        return int(text)
    if index == MONTH:
        return MONTHS.index(text) + 1
    return WEEKDAYS.index(text) if index == WEEKDAY else 31


def _expand(index: int, text: str) -> list[int | Literal["*", "l"]]:
    fields = ["*"] * 6
    fields[index] = text
    return croniter.expand(" ".join(fields))[0][index]


def _unreadable(expression: str, fields: tuple[str, ...], error: Exception) -> CronError:
    for index, text in enumerate(fields):
        try:
            _expand(index, text)
        except (ValueError, KeyError, TypeError):
            low, high = BOUNDS[index]
            advice = f"use {low}-{high}, '*', lists, ranges and steps"
            if index == WEEKDAY:
                advice += ", names, '#' as in 'fri#2' and 'L' as in 'L5' for the last Friday"
            elif index == DAY:
                advice += ", 'L' for the last day and 'W' as in '15W'"
            elif index == MONTH:
                advice += " and names"
            return _fault(expression, index, text, "cannot be read", advice)
    return CronError(expression, f"croniter refuses it ({error})", "correct it")


def _fault(expression: str, index: int, text: str, fault: str, advice: str) -> CronError:
    return CronError(expression, f"the {NAMES[index]} field {text!r} {fault}", advice)
