"""Intervals, dates, unions and restrictions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_legion.triggers import Cron, Interval, Once, Restricted, Trigger, TriggerError, Union

NOON = datetime(2026, 8, 3, 12, tzinfo=UTC)  # a Monday
moments = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
steady = settings(max_examples=100, deadline=None, derandomize=True)


@steady
@given(moments, moments, st.integers(1, 10**11))
def test_an_interval_fires_on_its_grid_and_strictly_later(moment: datetime, anchor: datetime, ms: int) -> None:
    interval = Interval(timedelta(milliseconds=ms), anchor)
    fire = interval.next_after(moment)
    assert fire is not None and fire > moment and interval.anchor is not None
    assert (fire - interval.anchor) % interval.every == timedelta(0) and fire >= interval.anchor
    assert fire == interval.anchor or fire - interval.every <= moment


def test_an_interval_starts_at_its_anchor() -> None:
    interval = Interval(timedelta(seconds=90), NOON)
    assert interval.next_after(NOON - timedelta(days=1)) == NOON
    assert interval.next_after(NOON) == NOON + timedelta(seconds=90)
    assert interval.next_after(NOON + timedelta(seconds=90)) == NOON + timedelta(seconds=180)
    assert interval.next_after(NOON + timedelta(seconds=91)) == NOON + timedelta(seconds=180)


def test_an_interval_without_an_anchor_keeps_to_the_grid_of_1970() -> None:
    assert Interval(timedelta(days=1)).next_after(NOON) == datetime(2026, 8, 4, tzinfo=UTC)
    assert Interval(timedelta(hours=1)).next_after(NOON) == NOON + timedelta(hours=1)


def test_an_interval_without_an_anchor_takes_one_and_one_with_keeps_it() -> None:
    seen = NOON + timedelta(minutes=7, microseconds=1500)
    anchored = Interval(timedelta(hours=1)).anchored(seen)
    assert anchored == Interval(timedelta(hours=1), NOON + timedelta(minutes=7, milliseconds=1))
    assert anchored.next_after(NOON + timedelta(minutes=8)) == anchored.anchor + timedelta(hours=1)
    assert anchored.anchored(NOON) is anchored


def test_an_interval_does_not_drift() -> None:
    fire = NOON
    interval = Interval(timedelta(milliseconds=100), NOON)
    for _ in range(1000):
        fire = interval.next_after(fire)
    assert fire == NOON + timedelta(seconds=100)


def test_an_interval_ends_with_the_calendar() -> None:
    assert Interval(timedelta(days=400)).next_after(datetime(9999, 12, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize("seconds", [0, -60, 0.0001, 1.0005])
def test_an_interval_that_is_no_whole_number_of_milliseconds_is_refused(seconds: float) -> None:
    with pytest.raises(TriggerError, match="is not a positive number of whole milliseconds; use at least"):
        Interval(timedelta(seconds=seconds))


def test_anchors_of_one_instant_are_equal_in_any_zone() -> None:
    there = NOON.astimezone(ZoneInfo("Asia/Tokyo"))
    assert Interval(timedelta(hours=1), NOON) == Interval(timedelta(hours=1), there)
    assert Once(NOON) == Once(there) and hash(Once(NOON)) == hash(Once(there))


def test_a_date_fires_once() -> None:
    once = Once(NOON + timedelta(microseconds=1999))
    at = NOON + timedelta(milliseconds=1)
    assert once.next_after(NOON) == at
    assert once.next_after(at) is None
    assert once.anchored(NOON) is once


def test_a_union_fires_at_the_earliest_of_its_triggers() -> None:
    union = Union(Cron("0 14 * * *"), Once(NOON + timedelta(hours=1)), Interval(timedelta(hours=1)))
    fires, moment = [], NOON
    for _ in range(3):
        moment = union.next_after(moment)
        fires.append(moment.hour)
    assert fires == [13, 14, 15]
    assert Union(Once(NOON)).next_after(NOON) is None


def test_a_union_is_flat_without_doubles_and_equal_in_any_order() -> None:
    hourly, daily, once = Cron("@hourly"), Cron("@daily"), Once(NOON)
    union = Union(daily, Union(hourly, daily), once)
    assert union.triggers == (daily, hourly, once)
    assert union == Union(once, hourly, daily) and hash(union) == hash(Union(once, hourly, daily))
    assert union != Union(once, hourly)


def test_a_union_of_nothing_is_refused() -> None:
    with pytest.raises(TriggerError, match="a union of no triggers never fires; give it at least one trigger"):
        Union()


def test_a_union_and_a_restriction_anchor_their_members() -> None:
    every = Interval(timedelta(minutes=7))
    assert Union(every, Cron("@daily")).anchored(NOON) == Union(every.anchored(NOON), Cron("@daily"))
    restricted = Restricted(every, frozenset({0}))
    assert restricted.anchored(NOON) == Restricted(every.anchored(NOON), frozenset({0}))
    fixed = Restricted(Cron("@daily"), frozenset({0}))
    assert fixed.anchored(NOON) is fixed


def test_a_restriction_lets_only_its_weekdays_pass() -> None:
    mondays = Restricted(Interval(timedelta(seconds=90), NOON), frozenset({0}), "Europe/Berlin")
    berlin = ZoneInfo("Europe/Berlin")
    assert mondays.next_after(NOON) == NOON + timedelta(seconds=90)
    late = datetime(2026, 8, 3, 23, 59, tzinfo=berlin)
    assert mondays.next_after(late) == datetime(2026, 8, 10, tzinfo=berlin)


@steady
@given(moments, st.sets(st.integers(0, 6), min_size=1).map(frozenset), st.sampled_from([61, 90 * 60, 11 * 3600]))
def test_a_restriction_skips_nothing_that_is_allowed(moment: datetime, days: frozenset[int], seconds: int) -> None:
    every, zone = Interval(timedelta(seconds=seconds)), ZoneInfo("America/Havana")
    fire = Restricted(every, days, "America/Havana").next_after(moment)
    assert fire is not None and fire.astimezone(zone).weekday() in days
    skipped = every.next_after(moment)
    assert skipped is not None
    # Every fire that was passed over fell on a forbidden day: look at the last of each of them.
    while skipped < fire:
        assert skipped.astimezone(zone).weekday() not in days
        skipped = every.next_after(max(skipped, min(skipped + timedelta(hours=5), fire - timedelta(milliseconds=1))))


def test_a_restriction_asks_its_trigger_once_for_each_run_of_forbidden_days() -> None:
    asked = []

    class Counting(Interval):
        __slots__ = ()

        def next_after(self, moment: datetime) -> datetime | None:
            asked.append(moment)
            return super().next_after(moment)

    Restricted(Counting(timedelta(seconds=1)), frozenset({6})).next_after(NOON)
    assert len(asked) == 2


def test_a_restriction_that_nothing_passes_ends() -> None:
    assert Restricted(Cron("0 0 * * tue"), frozenset({0})).next_after(NOON) is None
    assert Restricted(Once(NOON), frozenset({3})).next_after(NOON - timedelta(days=1)) is None


def test_a_restriction_starts_its_day_where_midnight_is_missing_or_doubled() -> None:
    every, sundays = Interval(timedelta(minutes=1)), frozenset({6})
    # Havana: clocks go from Saturday 24:00 to Sunday 01:00, and in autumn from Sunday 01:00 to 00:00.
    missing = Restricted(every, sundays, "America/Havana").next_after(datetime(2026, 3, 6, tzinfo=UTC))
    assert missing == datetime.fromisoformat("2026-03-08T01:00-04:00")
    doubled = Restricted(every, sundays, "America/Havana").next_after(datetime(2026, 10, 30, tzinfo=UTC))
    assert doubled == datetime.fromisoformat("2026-11-01T00:00-04:00")
    # Apia had no Friday 2011-12-30.
    fridays = Restricted(every, frozenset({4}), "Pacific/Apia").next_after(datetime(2011, 12, 29, 12, tzinfo=UTC))
    assert fridays == datetime.fromisoformat("2012-01-06T00:00+14:00")


@pytest.mark.parametrize("days", [set(), {7}, {-1, 0}])
def test_a_restriction_to_no_day_of_the_week_is_refused(days: set[int]) -> None:
    with pytest.raises(TriggerError, match="are no days of a week; use numbers from 0, Monday, to 6, Sunday"):
        Restricted(Cron("@daily"), frozenset(days))


@pytest.mark.parametrize(
    "trigger",
    [
        Cron("* * * * *"),
        Interval(timedelta(hours=1)),
        Interval(timedelta(hours=1), NOON),
        Once(NOON),
        Union(Once(NOON)),
        Restricted(Once(NOON), frozenset({0})),
    ],
    ids=lambda trigger: type(trigger).__name__,
)
def test_every_trigger_answers_in_utc_and_refuses_a_naive_moment(trigger: Trigger) -> None:
    there = timezone(timedelta(hours=-7))
    fire = trigger.next_after((NOON - timedelta(hours=2)).astimezone(there))
    assert fire is not None and fire.tzinfo is UTC
    assert trigger.next_after(fire - timedelta(microseconds=1)) == fire
    assert trigger in {trigger}
    with pytest.raises(TriggerError, match="has no time zone"):
        trigger.next_after(datetime(2026, 1, 1))


def test_a_naive_date_or_anchor_is_refused() -> None:
    with pytest.raises(TriggerError, match="pass an aware datetime"):
        Once(datetime(2026, 1, 1))
    with pytest.raises(TriggerError, match="pass an aware datetime"):
        Interval(timedelta(hours=1), datetime(2026, 1, 1))
