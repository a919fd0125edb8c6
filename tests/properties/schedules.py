"""Strategies for triggers: cron expressions with what they mean, zones, and moments near their transitions."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from tests.properties.cron_model import CronModel, Day, Numbers, transitions

ZONES = (
    "UTC",
    "Europe/Berlin",
    "Europe/Dublin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "America/Asuncion",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Antarctica/Troll",
    "Antarctica/Casey",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Atlantic/Azores",
)
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIRST, LAST = 1990, 2030

shifts = cache(lambda name: transitions(ZoneInfo(name), FIRST, LAST))
"""The transitions of a zone, found once."""


@st.composite
def near_moments(draw: st.DrawFn, zone: str, hours: int = 30) -> datetime:
    """Moments within some hours of a transition of the zone, so in either pass of an overlap."""
    found = shifts(zone)
    if found and draw(st.integers(0, 9)):
        middle = draw(st.sampled_from(found))
    else:
        middle = datetime(FIRST, 1, 1, tzinfo=UTC) + timedelta(minutes=draw(st.integers(0, 525_600 * (LAST - FIRST))))
    away = draw(
        st.one_of(
            st.sampled_from((0, 1, -1, 59, 60, -60, 1800, 3600, -1800, -3600, 7200, -7200)),
            st.integers(-hours * 3600, hours * 3600),
        )
    )
    return middle + timedelta(seconds=away, microseconds=draw(st.sampled_from((0, 0, 1, 500_000, 999_999))))


def _number(draw: st.DrawFn, number: int, names: tuple[str, ...], first: int) -> str:
    if names and draw(st.booleans()):
        return names[(number - first) % len(names)]
    return str(number)


@st.composite
def numbers(
    draw: st.DrawFn, low: int, high: int, near: int, names: tuple[str, ...] = (), extra: tuple[int, ...] = ()
) -> Numbers:
    """A field, with the number *near* in it as often as not. *extra* are more numbers that may be written."""
    value = st.just(near) | st.integers(low, high)
    form = draw(st.sampled_from(("star", "star step", "value", "list", "range", "range step")))
    everything = range(low, high + 1)
    if form == "star":
        return Numbers("*", frozenset(everything))
    if form == "star step":
        step = draw(st.integers(1, high))
        return Numbers(f"*/{step}", frozenset(range(low, high + 1, step)))
    if form in ("value", "list"):
        values = draw(
            st.lists(value | st.sampled_from((near, *extra)), min_size=1, max_size=1 if form == "value" else 5)
        )
        return Numbers(",".join(_number(draw, one, names, low) for one in values), frozenset(values))
    ends = draw(st.lists(st.integers(low, high), min_size=2, max_size=2, unique=True))
    first, last = sorted(ends)
    text = f"{_number(draw, first, names, low)}-{_number(draw, last, names, low)}"
    if form == "range":
        return Numbers(text, frozenset(range(first, last + 1)))
    step = draw(st.integers(1, high))
    return Numbers(f"{text}/{step}", frozenset(range(first, last + 1, step)))


@st.composite
def days_of_month(draw: st.DrawFn, near: int) -> Day:
    """A day-of-month field."""
    if draw(st.integers(0, 9)) == 0:
        return Day("L", lambda today: today.day == monthrange(today.year, today.month)[1])
    found = draw(numbers(1, 31, near))
    return Day(found.text, lambda today: today.day in found.values)


def _cron_weekday(today: date) -> int:
    return today.isoweekday() % 7


@st.composite
def days_of_week(draw: st.DrawFn, near: int) -> Day:
    """A day-of-week field; Sunday is 0, and 7 too."""
    if draw(st.integers(0, 9)) == 0:
        day, week = draw(st.integers(0, 6)), draw(st.integers(1, 5))
        return Day(
            f"{_number(draw, day, WEEKDAYS, 0)}#{week}",
            lambda today: _cron_weekday(today) == day and (today.day - 1) // 7 + 1 == week,
        )
    found = draw(numbers(0, 6, near, WEEKDAYS, extra=(7,)))
    return Day(found.text, lambda today: bool({_cron_weekday(today), _cron_weekday(today) or 7} & found.values))


@st.composite
def models(draw: st.DrawFn, moment: datetime, zone: str, seconds: bool = False) -> CronModel:
    """Expressions whose fields like the wall clock near *moment*."""
    local = moment.astimezone(ZoneInfo(zone))
    # What is missing in a gap, and what the clock shows around it.
    wall = local.replace(tzinfo=None) + timedelta(
        minutes=draw(st.sampled_from((0, 0, 30, -30, 60, -60, 90, -90, 1440)))
    )
    return CronModel(
        minute=draw(numbers(0, 59, wall.minute)),
        hour=draw(numbers(0, 23, wall.hour)),
        day=draw(st.just(Day("*", lambda today: True)) | days_of_month(wall.day)),
        month=draw(st.just(Numbers("*", frozenset(range(1, 13)))) | numbers(1, 12, wall.month, MONTHS)),
        weekday=draw(st.just(Day("*", lambda today: True)) | days_of_week(_cron_weekday(wall.date()))),
        second=draw(numbers(0, 59, wall.second)) if seconds else None,
        days=draw(st.sampled_from(("vixie", "or", "and"))),
        zone=ZoneInfo(zone),
    )
