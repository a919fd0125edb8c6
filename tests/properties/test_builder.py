"""The builder: any sequence of words makes a job whose fires are what was said, or one clear error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.schedules import crontab
from hypothesis import assume, given
from hypothesis import strategies as st

from celery_legion.builder import NO_WORDS, Builder
from celery_legion.command_builder import CommandBuilder, CommandTarget
from celery_legion.config import Config
from celery_legion.errors import LegionError
from celery_legion.job import Job
from celery_legion.planner import judge, within
from celery_legion.target import Target
from celery_legion.triggers import Cron, Interval, Once
from tests.properties.effort import PATIENCE, effort
from tests.properties.json_values import VALUES
from tests.properties.schedules import ZONES, near_moments

pytestmark = PATIENCE

COMMAND_WORDS = sorted(
    name for name in dir(CommandBuilder) if not name.startswith("_") and callable(getattr(CommandBuilder, name))
)
SAID = [word for word in COMMAND_WORDS if word not in (*NO_WORDS, "place", "target")]
DAY_WORDS = ("mondays", "tuesdays", "wednesdays", "thursdays", "fridays", "saturdays", "sundays")
TIMES = st.times().map(lambda at: at.replace(microsecond=0, second=at.second if at.second < 3 else 0))

SENSIBLE: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(
        ("90s", "1h30m", "mon", "friday", "13:00", "2:30", "23:59:30", "all", "once", "skip", "Europe/Berlin")
    ),
    st.sampled_from(
        ("* * * * *", "30 2 * * 1-5", "0 0 31 2 *", "2030-12-31 18:00", "027", "http://x/", "queue", "/tmp")
    ),
    st.sampled_from((True, False, 0, 1, 5, 13, 31, 2**40, -1, 1.5, float("nan"), float("inf"), None, "", "\0", b"x")),
    st.sampled_from(
        (time(2, 30), timedelta(minutes=5), timedelta(0), datetime(2030, 1, 1), datetime.max, datetime.min)
    ),
    st.sampled_from(
        (crontab(minute="5"), crontab, Once(datetime(2030, 1, 1, tzinfo=UTC)), Interval(timedelta(hours=1)))
    ),
    st.sampled_from((len, print, lambda: True, lambda run: None, object(), [1, 2], ("mon", "tue"), {"a": "b"}, {1, 2})),
)
ARGUMENTS = SENSIBLE | VALUES | st.text() | TIMES | st.timedeltas() | st.datetimes() | st.lists(SENSIBLE, max_size=3)
CALLS = st.tuples(
    st.sampled_from(SAID) | st.sampled_from(("dailly_at", "everyMinute", "at_noon")),
    st.lists(ARGUMENTS, max_size=3),
    st.dictionaries(
        st.sampled_from(("at", "anchor", "days", "seconds", "limit", "window", "ttl", "timezone", "if_")),
        ARGUMENTS,
        max_size=1,
    ),
)


@pytest.fixture(scope="module")
def app() -> Iterator[Celery]:
    made = Celery("shop", broker="redis://localhost:6379/0", set_as_current=False)
    made.finalize()
    yield made
    made.close()


def sweep() -> None:
    """A callable with a name of its own."""


def builders() -> tuple[Builder, CommandBuilder]:
    return Builder(Target("shop.sweep", "here:1")), CommandBuilder(CommandTarget("true", "here:2"))


def built(builder: Builder, app: Celery) -> Job | None:
    """Return the job that a builder makes, None where it has a clear error."""
    try:
        builder.register_task(app)
        return builder.build(app, Config.of(app))
    except LegionError as exc:
        said = str(exc)
    assert "here:" in said, said
    return None


@given(
    st.lists(CALLS, max_size=5),
    st.booleans(),
    st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),
)
@effort(300)
def test_any_words_make_a_job_or_one_clear_error(
    app: Celery, calls: list[Any], command: bool, moment: datetime
) -> None:
    builder: Builder = builders()[command]
    for word, args, kwargs in calls:
        answer = getattr(builder, word)(*args, **kwargs)
        assert answer is builder
    job = built(builder, app)
    if job is None:
        return
    trigger = job.trigger.anchored(moment)
    hash(trigger)
    fire = trigger.next_after(moment)
    assert fire is None or fire > moment
    for window in job.policy.between:
        within(window, moment)


@given(st.lists(st.tuples(st.sampled_from(SAID), st.lists(SENSIBLE, max_size=2)), min_size=1, max_size=3))
@effort(150)
def test_sensible_words_beside_a_frequency_make_a_job_or_one_clear_error(app: Celery, calls: list[Any]) -> None:
    builder: Builder = builders()[1].hourly()
    for word, args in calls:
        assert getattr(builder, word)(*args) is builder
    job = built(builder, app)
    assert job is None or job.trigger.next_after(datetime(2026, 3, 1, tzinfo=UTC)) is not None


BASES: dict[str, Callable[[Builder], Builder]] = {
    "daily": lambda job: job.daily(),
    "hourly": lambda job: job.hourly(),
    "every": lambda job: job.every("37m"),
    "every_five_minutes": lambda job: job.every_five_minutes(),
    "cron": lambda job: job.cron("15 */2 * * *"),
    "cron with days": lambda job: job.cron("15 2 1-20 * 1-5"),
    "monthly": lambda job: job.monthly(),
    "last": lambda job: job.last_day_of_month(),
    "trigger": lambda job: job.trigger(Cron("30 2 * * *", "America/New_York")),
    "crontab": lambda job: job.trigger(crontab(minute="10", hour="*/3")),
}


@given(
    base=st.sampled_from(sorted(BASES)),
    days=st.lists(st.sampled_from(DAY_WORDS), max_size=3),
    zone=st.sampled_from(ZONES),
    data=st.data(),
)
@effort(100)
def test_days_pick_among_the_fires_and_never_move_one(
    app: Celery, base: str, days: list[str], zone: str, data: st.DataObject
) -> None:
    start = data.draw(near_moments(zone))
    plain = built(BASES[base](builders()[0]).timezone(zone), app)
    words = [("base", base), ("zone", zone), *(("day", day) for day in days)]
    builder = builders()[0]
    for kind, word in data.draw(st.permutations(words)):
        if kind == "base":
            BASES[word](builder)
        else:
            builder.timezone(word) if kind == "zone" else getattr(builder, word)()
    picked = built(builder, app)
    assert plain is not None
    assert picked is not None
    allowed = {DAY_WORDS.index(day) for day in days} or set(range(7))
    every, chosen = plain.trigger.anchored(start), picked.trigger.anchored(start)
    moment, wanted = start, []
    for _ in range(200):
        fire = every.next_after(moment)
        assert fire is not None
        # A fire of a gap's end is bound to a time of the day before, when the gap is at midnight.
        if fire.astimezone(ZoneInfo(zone)).weekday() in allowed:
            wanted.append(fire)
        moment = fire
    found, at = [], start
    while (fire := chosen.next_after(at)) is not None and fire <= moment:
        found.append(fire)
        at = fire
    assert found == wanted


@given(
    times=st.lists(TIMES, min_size=1, max_size=4, unique=True),
    days=st.lists(st.sampled_from(DAY_WORDS), max_size=2),
    zone=st.sampled_from(ZONES),
    data=st.data(),
)
@effort(80)
def test_daily_times_are_those_of_the_wall_clock_on_the_days_that_were_said(
    app: Celery, times: list[time], days: list[str], zone: str, data: st.DataObject
) -> None:
    builder = builders()[0].timezone(zone)
    for day in days:
        getattr(builder, day)()
    job = built(builder.daily_at(*times), app)
    assert job is not None
    start = data.draw(near_moments(zone))
    tz = ZoneInfo(zone)
    allowed = {DAY_WORDS.index(day) for day in days} or set(range(7))
    moment = start
    for _ in range(10):
        fire = job.trigger.next_after(moment)
        assert fire is not None
        local = fire.astimezone(tz)
        before = (fire - timedelta(seconds=1)).astimezone(tz)
        jumped = local.utcoffset() != before.utcoffset()
        assert local.time() in times or jumped
        assert local.weekday() in allowed or jumped
        assert not local.fold
        moment = fire


@given(st.times(), st.times(), st.booleans(), st.sampled_from(ZONES), st.data())
@effort(80)
def test_windows_let_run_what_fires_in_them(
    app: Celery, start: time, end: time, inside: bool, zone: str, data: st.DataObject
) -> None:
    start, end = start.replace(microsecond=0), end.replace(microsecond=0)
    assume(start != end)
    builder = builders()[0].every_minute().timezone(zone)
    job = built(builder.between(start, end) if inside else builder.unless_between(start, end), app)
    assert job is not None
    fire = job.trigger.next_after(data.draw(near_moments(zone)))
    assert fire is not None
    shown = fire.astimezone(ZoneInfo(zone)).time()
    in_window = start <= shown < end if start < end else shown >= start or shown < end
    assert (judge(job, fire) is None) is (in_window is inside)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("name", "env", "cwd", "secret", "user", "umask", "nice", "timeout")),
            st.lists(ARGUMENTS, max_size=2),
        ),
        max_size=4,
    ),
    st.text() | st.lists(st.text(), max_size=3) | VALUES,
)
@effort(100)
def test_whatever_a_command_is_it_is_one_or_there_is_a_clear_error(app: Celery, calls: list[Any], line: Any) -> None:
    builder = CommandBuilder(CommandTarget(line, "here:3")).hourly()
    for word, args in calls:
        assert getattr(builder, word)(*args) is builder
    job = built(builder, app)
    if job is not None:
        assert job.action.command is not None
        assert all(isinstance(word, str) and "\0" not in word for word in job.action.command.argv)
        assert job.args == (job.name,)
        assert job.name.isprintable()


@given(
    st.sampled_from((sweep, Target, "shop.sweep", 5, None, b"x", [], lambda: 1, crontab)),
    st.none() | st.text(max_size=10),
)
@effort(40)
def test_whatever_a_job_is_about_it_is_a_task_or_there_is_a_clear_error(
    app: Celery, given_: Any, name: str | None
) -> None:
    builder = Builder(Target(given_, "here:4")).hourly()
    if name is not None:
        builder.name(name)
    job = built(builder, app)
    assert job is None or (job.name and job.name.isprintable())
