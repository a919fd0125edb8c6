"""Cron: fires, values and the rule for daylight saving."""

from __future__ import annotations

import copy
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_legion.triggers import Cron
from celery_legion.triggers.pattern import parse

BERLIN = ZoneInfo("Europe/Berlin")

# Changes of an hour, half an hour, two hours and a whole day; at night, at midnight, and negative DST.
CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("America/Havana", datetime(2026, 3, 8, 5, tzinfo=UTC)),
    ("America/Havana", datetime(2026, 11, 1, 5, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 2, 18, 2, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 11, 4, 3, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 4, 23, 22, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 10, 29, 21, tzinfo=UTC)),
    ("Europe/Dublin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("Pacific/Chatham", datetime(2026, 4, 4, 14, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ("Asia/Pyongyang", datetime(2018, 5, 4, 15, tzinfo=UTC)),
]

changes = st.sampled_from(CHANGES)
nearby = st.integers(-3 * 86400, 2 * 86400).map(lambda seconds: timedelta(seconds=seconds, microseconds=seconds % 7))
minutes = st.sampled_from(["0", "30", "15,45", "7", "*", "*/15", "*/20", "10-50/20"])
hours = st.sampled_from(["0", "1", "2", "3", "23", "0,1,2", "1-4", "22-2", "*", "*/2", "*/3", "2,14"])
days = st.sampled_from(["*", "*", "mon", "sat,sun", "1-5"])
steady = settings(max_examples=120, deadline=None, derandomize=True)


def expand(field: str, size: int) -> set[int]:
    """An own reading of a field of numbers, apart from croniter's."""
    values: set[int] = set()
    for item in field.split(","):
        span, _, step = item.partition("/")
        low, _, high = span.partition("-")
        first, last = (0, size - 1) if span == "*" else (int(low), int(high or low))
        length = (last - first) % size + 1
        values |= {(first + ahead) % size for ahead in range(0, length, int(step or 1))}
    return values


def matches(wall: datetime, minute: str, hour: str, day: str) -> bool:
    weekdays = {"*": range(7), "mon": [0], "sat,sun": [5, 6], "1-5": range(5)}[day]
    in_time = wall.minute in expand(minute, 60) and wall.hour in expand(hour, 24)
    return in_time and wall.second == 0 and wall.weekday() in weekdays


def series(cron: Cron, start: datetime, end: datetime) -> list[datetime]:
    found = []
    while (fire := cron.next_after(start)) is not None and fire <= end:
        found.append(fire)
        start = fire
    return found


def walk(start: datetime, end: datetime, zone: ZoneInfo) -> list[tuple[datetime, datetime]]:
    """Every whole minute after *start* up to *end*, with its wall clock."""
    first = start.replace(second=0, microsecond=0) + timedelta(minutes=1)
    instants = [first + timedelta(minutes=count) for count in range((end - first) // timedelta(minutes=1) + 1)]
    return [(instant, instant.astimezone(zone)) for instant in instants]


@steady
@given(changes, nearby, minutes, hours, days)
def test_a_wildcard_job_fires_at_every_instant_whose_wall_clock_matches(
    change: tuple[str, datetime], shift: timedelta, minute: str, hour: str, day: str
) -> None:
    zone, at = change
    start, end = at + shift, at + shift + timedelta(hours=30)
    expected = [instant for instant, wall in walk(start, end, ZoneInfo(zone)) if matches(wall, minute, hour, day)]
    assert series(Cron(f"{minute} {hour} * * {day}", zone, dst="literal"), start, end) == expected
    if minute.startswith("*") or hour.startswith("*"):
        assert series(Cron(f"{minute} {hour} * * {day}", zone), start, end) == expected


@steady
@given(
    changes, nearby, minutes.filter(lambda field: field[0] != "*"), hours.filter(lambda field: field[0] != "*"), days
)
def test_a_fixed_time_job_keeps_its_times_of_day(
    change: tuple[str, datetime], shift: timedelta, minute: str, hour: str, day: str
) -> None:
    zone, at = change
    start, end = at + shift, at + shift + timedelta(hours=30)
    expected = []
    seen: set[datetime] = set()
    previous = None
    # A simulated daemon: it looks at the clock each minute and catches up with a clock set forward.
    for instant, wall in walk(start - timedelta(days=2), end, ZoneInfo(zone)):
        now = wall.replace(tzinfo=None, fold=0)
        jumped = previous is not None and timedelta(minutes=1) < now - previous <= timedelta(hours=3, minutes=1)
        passed = (
            [previous + timedelta(minutes=step) for step in range(1, (now - previous) // timedelta(minutes=1))]
            if jumped
            else []
        )
        if now not in seen and any(matches(slot, minute, hour, day) for slot in [*passed, now]) and instant > start:
            expected.append(instant)
        seen.add(now)
        previous = now
    assert series(Cron(f"{minute} {hour} * * {day}", zone), start, end) == expected


@steady
@given(changes, st.integers(0, 59), st.integers(0, 23))
def test_a_daily_job_fires_once_on_every_local_day(change: tuple[str, datetime], minute: int, hour: int) -> None:
    zone, at = change
    local = ZoneInfo(zone)
    start, end = at - timedelta(days=4), at + timedelta(days=4)
    days = [fire.astimezone(local).date() for fire in series(Cron(f"{minute} {hour} * * *", zone), start, end)]
    existing = sorted({wall.date() for _, wall in walk(start, end, local)})
    assert days == [day for day in existing if days[0] <= day <= days[-1]]
    assert len(days) >= len(existing) - 2


@steady
@given(
    changes,
    nearby,
    st.sampled_from(["* * * * *", "30 2 * * *", "0,30 0-4 * * *", "*/10 30 2 * * *", "0 0 * * mon", "15 */2 L * *"]),
    st.sampled_from(["cron", "skip", "literal"]),
)
def test_fires_are_strictly_later_and_increasing(
    change: tuple[str, datetime], shift: timedelta, expression: str, dst: str
) -> None:
    zone, at = change
    cron, moment = Cron(expression, zone, seconds="first", dst=dst), at + shift
    fires = [moment]
    for _ in range(12):
        fire = cron.next_after(fires[-1])
        assert fire is not None
        fires.append(fire)
    assert all(earlier < later for earlier, later in pairwise(fires))
    # Any moment between two fires leads to the later one.
    assert cron.next_after(fires[2] - timedelta(microseconds=1)) == fires[2]
    assert cron.next_after(fires[1] + (fires[2] - fires[1]) / 2) == fires[2]


@pytest.mark.parametrize(
    ("dst", "expected"),
    [
        ("cron", ["2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
        ("skip", ["2026-03-28T02:30+01:00", "2026-03-30T02:30+02:00", "2026-03-31T02:30+02:00"]),
        ("literal", ["2026-03-28T02:30+01:00", "2026-03-30T02:30+02:00", "2026-03-31T02:30+02:00"]),
    ],
)
def test_a_time_in_a_gap_follows_the_policy(dst: str, expected: list[str]) -> None:
    fires = series(
        Cron("30 2 * * *", "Europe/Berlin", dst=dst),
        datetime(2026, 3, 27, 12, tzinfo=UTC),
        datetime(2026, 3, 31, 12, tzinfo=UTC),
    )
    assert fires[:3] == [datetime.fromisoformat(at) for at in expected]


@pytest.mark.parametrize(("dst", "passes"), [("cron", 1), ("skip", 1), ("literal", 2)])
def test_a_time_in_an_overlap_follows_the_policy(dst: str, passes: int) -> None:
    day = datetime(2026, 10, 25, tzinfo=BERLIN)
    fires = series(Cron("30 2 * * *", "Europe/Berlin", dst=dst), day, day + timedelta(hours=20))
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert fires == [first, first + timedelta(hours=1)][:passes]


def test_several_times_in_one_gap_are_one_fire() -> None:
    fires = series(
        Cron("0,20,40 2,3 * * *", "Europe/Berlin"),
        datetime(2026, 3, 29, tzinfo=BERLIN),
        datetime(2026, 3, 29, 4, tzinfo=BERLIN),
    )
    assert [fire.astimezone(BERLIN).strftime("%H:%M") for fire in fires] == ["03:00", "03:20", "03:40"]


def test_seconds_of_a_fixed_time_in_a_gap_are_one_fire() -> None:
    cron = Cron("*/10 30 2 29 3 *", "Europe/Berlin", seconds="first")
    fire = cron.next_after(datetime(2026, 3, 28, tzinfo=UTC))
    assert fire == datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert cron.next_after(fire) == datetime(2027, 3, 29, 0, 30, tzinfo=UTC)


def test_a_job_whose_every_time_falls_in_a_gap_never_fires() -> None:
    # Clocks go forward on the last Sunday of March, always.
    assert Cron("* 2 * 3 L7", "Europe/Berlin").next_after(datetime(2026, 1, 1, tzinfo=UTC)) is None
    assert Cron("30 2 * 3 L7", "Europe/Berlin", dst="skip").next_after(datetime(2026, 1, 1, tzinfo=UTC)) is None


def test_the_search_ends_at_the_end_of_the_calendar() -> None:
    assert Cron("0 0 29 2 *", "Europe/Berlin").next_after(datetime(9999, 12, 30, tzinfo=UTC)) is None


def test_dates_decades_apart_are_found() -> None:
    assert Cron("0 0 * 2 mon#5").next_after(datetime(2072, 3, 1, tzinfo=UTC)) == datetime(2112, 2, 29, tzinfo=UTC)


@pytest.mark.parametrize(("rule", "expected"), [("vixie", "2023-05-13"), ("and", "2023-05-13"), ("or", "2023-05-03")])
def test_two_restricted_days_combine_as_told(rule: str, expected: str) -> None:
    cron = Cron("0 0 */2 * sat", days=rule)
    fire = cron.next_after(datetime(2023, 5, 2, tzinfo=UTC))
    assert fire is not None and fire.date().isoformat() == expected


def test_crons_are_equal_by_value_and_share_one_pattern() -> None:
    one, other = Cron("*/5 * * * *", "Europe/Berlin"), Cron("*/5 * * * *", "Europe/Berlin")
    assert one == other and hash(one) == hash(other) and one.pattern is other.pattern
    assert one != Cron("*/5 * * * *") and one != Cron("*/5 * * * *", "Europe/Berlin", dst="skip")
    assert repr(one) == (
        "Cron(expression='*/5 * * * *', timezone='Europe/Berlin', seconds='last', days='vixie', dst='cron')"
    )


def test_crons_survive_copying_and_pickling() -> None:
    cron = Cron("30 2 * * *", "Europe/Berlin")
    moment = datetime(2026, 3, 28, 12, tzinfo=UTC)
    for twin in (copy.deepcopy(cron), pickle.loads(pickle.dumps(cron))):
        assert twin == cron and twin.next_after(moment) == cron.next_after(moment)


def test_a_cron_needs_no_anchor() -> None:
    cron = Cron("@daily")
    assert cron.anchored(datetime(2026, 1, 1, tzinfo=UTC)) is cron


def test_an_expression_is_parsed_once() -> None:
    Cron("17 4 * * *")
    before = parse.cache_info().misses
    Cron("17 4 * * *", "Asia/Tokyo")
    assert parse.cache_info().misses == before


def test_threads_may_share_a_cron() -> None:
    cron = Cron("*/5 * * * *", "Europe/Berlin")
    starts = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=count) for count in range(400)]
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(cron.next_after, starts))
    finally:
        sys.setswitchinterval(usual)
    assert together == [start + timedelta(minutes=5) for start in starts]
