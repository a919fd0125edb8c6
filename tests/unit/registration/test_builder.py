"""The fluent words, in any order, and what they come to."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from celery import Celery, chain, group

from celery_legion import Legion
from celery_legion.errors import DuplicateJobError, InvalidJobError, LegionError, NamelessActionError
from celery_legion.job import Between, CatchUp, Job, Overlap
from celery_legion.triggers import Cron, Interval, Once, Restricted, Union
from tests.unit.registration import chores
from tests.unit.registration.chores import prune

BERLIN = "Europe/Berlin"


def only(legion: Legion) -> Job:
    [job] = [job for job in legion.jobs.values() if job.source == "code"]
    return job


@pytest.mark.parametrize(
    ("say", "expression"),
    [
        (lambda job: job.cron("5 4 * * sun"), "5 4 * * sun"),
        (lambda job: job.every_second(), "* * * * * *"),
        (lambda job: job.every_two_seconds(), "* * * * * */2"),
        (lambda job: job.every_thirty_seconds(), "* * * * * */30"),
        (lambda job: job.every_minute(), "* * * * *"),
        (lambda job: job.every_five_minutes(), "*/5 * * * *"),
        (lambda job: job.every_thirty_minutes(), "*/30 * * * *"),
        (lambda job: job.hourly(), "0 * * * *"),
        (lambda job: job.hourly_at(17, 47), "17,47 * * * *"),
        (lambda job: job.every_odd_hour(), "0 1-23/2 * * *"),
        (lambda job: job.every_six_hours(15), "15 */6 * * *"),
        (lambda job: job.daily(), "0 0 * * *"),
        (lambda job: job.daily().at("13:30"), "30 13 * * *"),
        (lambda job: job.daily_at("2:00"), "0 2 * * *"),
        (lambda job: job.daily_at("2:00", "14:00"), "0 2,14 * * *"),
        (lambda job: job.twice_daily(1, 13), "0 1,13 * * *"),
        (lambda job: job.twice_daily_at(1, 13, 15), "15 1,13 * * *"),
        (lambda job: job.weekly(), "0 0 * * 0"),
        (lambda job: job.weekly().mondays().at("8:00"), "0 8 * * 1"),
        (lambda job: job.weekly_on("mon", "thu", at="8:15"), "15 8 * * 1,4"),
        (lambda job: job.monthly(), "0 0 1 * *"),
        (lambda job: job.monthly_on(4, at="15:00"), "0 15 4 * *"),
        (lambda job: job.twice_monthly(1, 16, at="13:00"), "0 13 1,16 * *"),
        (lambda job: job.last_day_of_month(at="18:00"), "0 18 L * *"),
        (lambda job: job.last_day_of_month(at="18:00").weekdays(), "0 18 L * 1-5"),
        (lambda job: job.quarterly(), "0 0 1 1,4,7,10 *"),
        (lambda job: job.yearly_on(6, 1, at="17:00"), "0 17 1 6 *"),
        (lambda job: job.daily_at("13:00").mondays(), "0 13 * * 1"),
        (lambda job: job.mondays().daily_at("13:00"), "0 13 * * 1"),
        (lambda job: job.weekdays().hourly(), "0 * * * 1-5"),
        (lambda job: job.daily_at("6:00").weekends(), "0 6 * * 0,6"),
    ],
)
def test_a_word_comes_to_its_cron_expression(legion: Legion, say: Any, expression: str) -> None:
    say(legion.call(prune))

    trigger = only(legion).trigger
    assert isinstance(trigger, Cron)
    assert trigger.expression == expression


def test_day_constraints_never_touch_the_time(legion: Legion) -> None:
    legion.call(prune).daily_at("13:00").mondays().timezone(BERLIN)

    fire = only(legion).trigger.next_after(datetime(2026, 1, 1, tzinfo=UTC))
    assert fire == datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


def test_an_interval_takes_day_constraints_as_well(legion: Legion) -> None:
    legion.call(prune).every("90s").mondays()

    assert only(legion).trigger == Restricted(Interval(timedelta(seconds=90)), frozenset({0}))


def test_times_at_different_minutes_are_a_union(legion: Legion) -> None:
    legion.call(prune).daily_at("2:00", "14:30")

    assert only(legion).trigger == Union(Cron("0 2 * * *"), Cron("30 14 * * *"))


def test_one_date_is_once(legion: Legion) -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    legion.call(prune).once(moment)

    assert only(legion).trigger == Once(moment)


def test_a_time_without_a_zone_is_in_the_settings_zone(app: Celery, legion: Legion) -> None:
    app.conf.legion_timezone = BERLIN
    legion.call(prune).daily_at("2:00")

    trigger = only(legion).trigger
    assert isinstance(trigger, Cron)
    assert trigger.timezone == BERLIN


def test_policies_are_said_in_words(legion: Legion) -> None:
    job = (
        legion.call(prune, 1, 2, key="value")
        .hourly()
        .name("prune")
        .description("drop what is old")
        .tags("db", "night")
        .queue("slow")
        .options(priority=3, expires=60)
        .lock_name("db")
        .without_overlapping(ttl="2h")
        .catch_up("all", window="3h", limit=7)
        .start_deadline("10m")
        .between("7:00", "22:00")
    )
    assert job is not None

    made = only(legion)
    assert (made.name, made.description, made.tags, made.queue) == (
        "prune",
        "drop what is old",
        ("db", "night"),
        "slow",
    )
    assert (made.args, dict(made.kwargs)) == ((1, 2), {"key": "value"})
    assert dict(made.options) == {"priority": 3, "expires": 60}
    assert (made.lock, made.policy.lock_ttl) == ("db", timedelta(hours=2))
    assert (made.policy.catch_up, made.policy.catch_up_window, made.policy.catch_up_limit) == (
        CatchUp.ALL,
        timedelta(hours=3),
        7,
    )
    assert made.policy.start_deadline == timedelta(minutes=10)
    assert made.policy.between == (Between(time(7), time(22), "UTC"),)


def test_jobs_do_not_overlap_unless_they_or_the_settings_say_so(app: Celery, legion: Legion) -> None:
    legion.call(prune).hourly().name("a")
    legion.call(prune).hourly().name("b").allow_overlapping()

    assert {name: legion.jobs[name].policy.overlap for name in "ab"} == {"a": Overlap.SKIP, "b": Overlap.ALLOW}


def test_equal_policies_are_one_object(legion: Legion) -> None:
    legion.call(prune).hourly().name("a").tags("x")
    legion.call(prune).daily().name("b")

    assert legion.jobs["a"].policy is legion.jobs["b"].policy


@pytest.mark.parametrize(
    ("say", "words"),
    [
        (lambda job: job.cron("30 2 30 2 *"), "day-of-month '30'"),
        (lambda job: job.daily().timezone("Europe/Berln"), "did you mean 'Europe/Berlin'"),
        (lambda job: job.daily().hourly(), "two frequencies"),
        (lambda job: job, "no frequency"),
        (lambda job: job.every("90s").at("13:00"), "at() cannot set"),
        (lambda job: job.every("soon"), "no duration"),
        (lambda job: job.weekly_on("mon").fridays(), "exclude each other"),
        (lambda job: job.daily_at("25:00"), "no time of day"),
        (lambda job: job.monthly_on(32), "day of the month"),
        (lambda job: job.days("moonday").daily(), "no weekday"),
        (lambda job: job.hourly().catch_up("some"), "skip, once, all"),
        (lambda job: job.hourly().start_deadline(0), "no positive duration"),
    ],
)
def test_nonsense_is_raised_when_the_schedule_is_read_in_one_line_with_its_place(
    legion: Legion, say: Any, words: str
) -> None:
    say(legion.call(prune))

    with pytest.raises(InvalidJobError) as caught:
        legion.jobs
    text = str(caught.value)
    assert words in text
    assert "prune" in text
    assert "test_builder.py:" in text
    assert "\n" not in text


def test_two_jobs_of_one_name_are_refused_with_both_places(legion: Legion) -> None:
    legion.call(prune).hourly()
    legion.call(prune).daily()

    with pytest.raises(DuplicateJobError) as caught:
        legion.jobs
    assert str(caught.value).count("test_builder.py:") == 2


@pytest.mark.parametrize("nameless", [lambda: None, (lambda: lambda: None)(), chores.Callable_()])
def test_what_has_no_stable_name_needs_one(legion: Legion, nameless: Any) -> None:
    legion.call(nameless).hourly()

    with pytest.raises(NamelessActionError, match=r"test_builder\.py:\d+ has no stable name"):
        legion.jobs


def test_a_lambda_with_a_name_is_a_task_of_that_name(app: Celery, legion: Legion) -> None:
    legion.call(lambda: 42).hourly().name("answer")

    assert only(legion).action.task == "answer"
    assert app.tasks["answer"]() == 42


@pytest.mark.parametrize("canvas", [chain, group])
def test_several_tasks_in_one_are_refused_with_advice(app: Celery, legion: Legion, canvas: Any) -> None:
    task = app.task(prune, name="prune")
    legion.call(canvas(task.s(1), task.s(2))).hourly().name("both")

    with pytest.raises(InvalidJobError, match="wrap it in one task"):
        legion.jobs


def test_a_signature_brings_its_arguments_and_options(app: Celery, legion: Legion) -> None:
    task = app.task(prune, name="prune")
    legion.call(task.s(1, key=2).set(queue="slow")).hourly()

    job = only(legion)
    assert (job.name, job.action.task, job.args, dict(job.kwargs)) == ("prune", "prune", (1,), {"key": 2})
    assert dict(job.options) == {"queue": "slow"}


@pytest.mark.parametrize(
    ("target", "task", "result"),
    [
        (prune, "tests.unit.registration.chores.prune", ()),
        (chores.Report, "tests.unit.registration.chores.Report", "daily report"),
        (chores.Report.run, "tests.unit.registration.chores.Report.run", "daily report"),
        (chores.Callable_, "tests.unit.registration.chores.Callable_", "called"),
    ],
)
def test_callables_become_tasks_by_their_qualified_name(
    app: Celery, legion: Legion, target: Any, task: str, result: object
) -> None:
    legion.call(target).hourly()

    assert only(legion).name == task
    assert app.tasks[task]() == result


def test_methods_of_several_objects_run_each_its_own(app: Celery, legion: Legion) -> None:
    legion.call(chores.Feed("a").sync).hourly().name("sync-a")
    legion.call(chores.Feed("b").sync).hourly().name("sync-b")
    legion.call(chores.Feed.refresh).hourly()
    legion.call(chores.News.refresh).hourly()
    results = {name: app.tasks[job.action.task]() for name, job in legion.jobs.items() if job.source == "code"}

    assert results == {
        "sync-a": "synced a",
        "sync-b": "synced b",
        "tests.unit.registration.chores.Feed.refresh": "refreshed Feed",
        "tests.unit.registration.chores.News.refresh": "refreshed News",
    }


def test_two_callables_of_one_qualified_name_are_refused_and_never_mixed_up(legion: Legion) -> None:
    legion.call(prune).hourly().name("plain")
    legion.call(chores.logged(prune)).hourly().name("logged")

    with pytest.raises(InvalidJobError, match="same qualified name"):
        legion.jobs


def test_a_class_without_a_method_to_call_is_refused(legion: Legion) -> None:
    legion.call(chores.Nothing).hourly()

    with pytest.raises(InvalidJobError, match="__call__, run, handle"):
        legion.jobs


def test_workers_learn_of_tasks_without_reading_the_schedule_and_despite_a_broken_job(
    app: Celery, legion: Legion, caplog: pytest.LogCaptureFixture
) -> None:
    legion.call(lambda: None).hourly()
    legion.call(prune).cron("not cron").name("broken")
    legion.call(chores.Report).hourly()

    legion.context.registry.register_tasks()

    assert "tests.unit.registration.chores.Report" in app.tasks
    assert len(caplog.records) == 2


def test_every_error_is_one_of_ours(legion: Legion) -> None:
    legion.call(prune).cron("* *")

    with pytest.raises(LegionError) as caught:
        legion.jobs
    assert caught.value.exit_code == 2


def test_what_is_a_word_of_its_own_is_said_to_be_one(legion: Legion) -> None:
    legion.call(prune).daily_at("02:00", timezone="Europe/Berlin")
    with pytest.raises(LegionError, match=r"write \.timezone\('Europe/Berlin'\), a word of its own"):
        _ = legion.jobs


@pytest.mark.parametrize("text", ["0 0 9 * * *", "0 30 8 * * 1-5", "0 */5 * * * *", "0 0 12 ? * MON-FRI"])
def test_six_fields_that_seem_to_begin_with_seconds_are_asked_about(legion: Legion, text: str) -> None:
    legion.task("t").name("job").cron(text)

    with pytest.raises(InvalidJobError, match="seconds='first'"):
        legion.jobs


@pytest.mark.parametrize(
    ("text", "said", "meant"),
    [
        ("0 0 9 * * *", "first", "09:00:00"),
        ("30 9 * * * *", "last", "09:30:00"),
        ("30 9 * * * 15", None, "09:30:15"),
        ("* * * * * */10", None, "08:00:10"),
    ],
)
def test_six_fields_are_read_as_it_is_said(legion: Legion, text: str, said: str | None, meant: str) -> None:
    legion.task("t").name("job").cron(text, seconds=said).timezone("UTC")

    fire = only(legion).trigger.next_after(datetime(2026, 3, 2, 8, tzinfo=UTC))
    assert fire is not None
    assert f"{fire:%H:%M:%S}" == meant


def test_a_job_may_not_be_called_what_pause_takes_for_all(legion: Legion) -> None:
    legion.task("t").name("*").hourly()

    with pytest.raises(InvalidJobError, match="means all jobs"):
        legion.jobs
