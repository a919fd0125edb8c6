"""Triggers against brute force: strictly later, never an instant outside the rule, none left out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import assume, given
from hypothesis import strategies as st

from celery_legion.triggers import Cron, Interval, Once, Restricted, Trigger, TriggerError, Union
from tests.properties.cron_model import MINUTE, CronModel
from tests.properties.effort import PATIENCE, effort
from tests.properties.schedules import ZONES, models, near_moments

pytestmark = PATIENCE

MILLISECOND = timedelta(milliseconds=1)
MOST = 20_000
EXPRESSIONS = ("* * * * *", "0 0 29 2 *", "30 2 * * *", "0 0 31 12 *", "*/7 */5 * * 1-5 */9")
TEXTS = st.one_of(
    st.text(),
    st.text(alphabet="0123456789*/-,#LW? @hrmonjandecsu", max_size=40),
    st.from_regex(r"([*/,0-9-]{1,6} ){4,5}[*/,0-9#L-]{1,6}"),
)
zones = st.sampled_from(ZONES)
moments = st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
anywhere = st.datetimes(
    timezones=st.sampled_from([UTC, *(ZoneInfo(zone) for zone in ZONES), timezone(timedelta(hours=-14))])
)


def whole(moment: datetime) -> datetime:
    """Return a moment cut to its millisecond."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def cron_of(model: CronModel, zone: str) -> Cron:
    """Return what the package makes of the model's expression; what it refuses is not tested here."""
    try:
        return Cron(model.expression, zone, days=model.days)
    except TriggerError:
        assume(False)
        raise


def fires(trigger: Trigger, start: datetime, end: datetime) -> list[datetime]:
    """Return the fires of a trigger later than *start*, up to *end*, each asked for from the one before."""
    found: list[datetime] = []
    moment = start
    for _ in range(MOST):
        fire = trigger.next_after(moment)
        if fire is None or fire > end:
            return found
        assert fire > moment
        assert fire.tzinfo is UTC
        found.append(fire)
        moment = fire
    raise AssertionError(f"more than {MOST} fires")


@given(st.data(), zones)
@effort(60)
def test_five_fields_fire_as_a_walk_through_the_minutes_says(data: st.DataObject, zone: str) -> None:
    start = data.draw(near_moments(zone))
    model = data.draw(models(start, zone))
    end = start + timedelta(hours=data.draw(st.integers(1, 36)))
    assert fires(cron_of(model, zone), start, end) == model.fires(start, end)


@given(st.data(), zones)
@effort(20)
def test_six_fields_fire_as_a_walk_through_the_seconds_says(data: st.DataObject, zone: str) -> None:
    start = data.draw(near_moments(zone, hours=1))
    model = data.draw(models(start, zone, seconds=True))
    end = start + timedelta(minutes=data.draw(st.integers(1, 150)))
    assert fires(cron_of(model, zone), start, end) == model.fires(start, end)


@given(st.data(), zones)
@effort(40)
def test_a_fire_far_away_is_one_of_the_rule_and_the_first(data: st.DataObject, zone: str) -> None:
    start = data.draw(near_moments(zone))
    model = data.draw(models(data.draw(near_moments(zone)), zone))
    fire = cron_of(model, zone).next_after(start)
    if fire is None:
        return
    assert model.fires(fire - MINUTE, fire) == [fire]
    for _ in range(3):
        between = start + (fire - start) * data.draw(st.floats(0, 1))
        assert model.fires(between, min(between + timedelta(hours=4), fire - MINUTE)) == []


@given(st.data(), zones, zones)
@effort(40)
def test_any_moment_on_the_way_to_a_fire_leads_to_it(data: st.DataObject, zone: str, other: str) -> None:
    start = data.draw(near_moments(zone))
    cron = cron_of(data.draw(models(start, zone, seconds=data.draw(st.booleans()))), zone)
    fire = cron.next_after(start)
    assume(fire is not None)
    assert fire is not None
    between = start + (fire - start) * data.draw(st.floats(0, 1))
    assume(between < fire)
    assert cron.next_after(between.astimezone(ZoneInfo(other))) == fire


@given(st.data(), zones)
@effort(40)
def test_cron_that_skips_gaps_fires_when_cron_does_save_at_their_ends(data: st.DataObject, zone: str) -> None:
    start = data.draw(near_moments(zone))
    model = data.draw(models(start, zone))
    cron = cron_of(model, zone)
    end = start + timedelta(hours=12)
    usual = fires(cron, start, end)
    skipping = fires(Cron(cron.expression, zone, days=cron.days, dst="skip"), start, end)
    literal = fires(Cron(cron.expression, zone, days=cron.days, dst="literal"), start, end)
    shown = [fire for fire in usual if model.shows(fire.astimezone(model.zone).replace(tzinfo=None, fold=0))]
    assert skipping == shown
    assert set(skipping) <= set(literal)
    assert all(model.shows(fire.astimezone(model.zone).replace(tzinfo=None, fold=0)) for fire in literal)


@given(
    TEXTS,
    st.text(max_size=20) | zones,
    st.sampled_from(("last", "first", "middle")),
    st.sampled_from(("vixie", "or", "and", "xor")),
    anywhere,
)
@effort(200)
def test_any_text_is_a_cron_or_refused_with_the_packages_own_error(
    expression: str, zone: str, seconds: Any, days: Any, moment: datetime
) -> None:
    try:
        cron = Cron(expression, zone, seconds=seconds, days=days)
    except TriggerError:
        return
    assume(_in_range(moment))
    fire = cron.next_after(moment)
    assert fire is None or fire > moment


def simple_triggers() -> st.SearchStrategy[Trigger]:
    spans = st.integers(1, 400 * 86_400_000).map(lambda number: number * MILLISECOND)
    return st.one_of(
        st.builds(Interval, spans, st.none() | anywhere.filter(_in_range)),
        st.builds(Once, anywhere.filter(_in_range)),
        st.builds(Cron, st.sampled_from(EXPRESSIONS), zones),
    )


def _in_range(moment: datetime) -> bool:
    return 1 < moment.year < 9999


triggers = st.recursive(
    simple_triggers(),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda some: Union(*some)),
        st.builds(Restricted, inner, st.frozensets(st.integers(0, 6), min_size=1), zones),
    ),
    max_leaves=5,
)


@given(triggers, anywhere)
@effort(100)
def test_every_trigger_answers_at_every_moment_of_the_calendar(trigger: Trigger, moment: datetime) -> None:
    assume(_in_range(moment))
    fire = trigger.next_after(moment)
    assert fire is None or (fire > moment and fire.tzinfo is UTC and not fire.microsecond % 1000)


@given(triggers, st.sampled_from(ZONES), st.booleans())
@effort(40)
def test_every_trigger_answers_at_both_ends_of_the_calendar(trigger: Trigger, zone: str, last: bool) -> None:
    for tz in (UTC, ZoneInfo(zone), timezone(timedelta(hours=14)), timezone(timedelta(hours=-14))):
        moment = (datetime.max if last else datetime.min).replace(tzinfo=tz)
        try:
            fire = trigger.next_after(moment)
        except TriggerError as exc:
            fire, said = None, str(exc)
        else:
            said = ""
        assert fire is None or fire > moment
        assert not said or "outside of the calendar" in said


@given(
    st.integers(1, 10**11).map(lambda ms: timedelta(milliseconds=ms)),
    st.none() | moments,
    moments,
    st.integers(1, 5),
)
@effort(60)
def test_an_interval_fires_on_every_point_of_its_grid(
    every: timedelta, anchor: datetime | None, start: datetime, count: int
) -> None:
    interval = Interval(every, anchor)
    first = datetime(1970, 1, 1, tzinfo=UTC) if anchor is None else whole(anchor)
    found = [start]
    for _ in range(count):
        fire = interval.next_after(found[-1])
        assert fire is not None
        found.append(fire)
    for before, fire in pairwise(found):
        assert fire > before
        assert (fire - first) % every == timedelta(0)
        assert fire - before <= every or fire == first
        assert fire >= first or anchor is None


@given(moments, moments)
@effort(30)
def test_once_fires_one_time(moment: datetime, start: datetime) -> None:
    once = Once(moment)
    at = whole(moment)
    assert fires(once, start, datetime.max.replace(tzinfo=UTC)) == ([at] if at > start else [])


@given(st.lists(triggers, min_size=1, max_size=4), moments)
@effort(40)
def test_a_union_fires_when_one_of_its_triggers_does(members: list[Trigger], start: datetime) -> None:
    union = Union(*members)
    for _ in range(5):
        fire = union.next_after(start)
        each = [one for member in members if (one := member.next_after(start)) is not None]
        assert fire == min(each, default=None)
        if fire is None:
            return
        start = fire


@given(triggers, st.frozensets(st.integers(0, 6), min_size=1), zones, moments)
@effort(60)
def test_a_restriction_fires_when_its_trigger_does_on_its_days(
    trigger: Trigger, weekdays: frozenset[int], zone: str, start: datetime
) -> None:
    restricted = Restricted(trigger, weekdays, zone)
    moment, end = start, start + timedelta(days=20)
    wanted: list[datetime] = []
    for _ in range(300):
        fire = trigger.next_after(moment)
        if fire is None or fire > end:
            break
        if fire.astimezone(ZoneInfo(zone)).weekday() in weekdays:
            wanted.append(fire)
        moment = fire
    last = moment if len(wanted) else start
    assert fires(restricted, start, last) == wanted
