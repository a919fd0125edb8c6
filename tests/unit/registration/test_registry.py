"""Jobs from everywhere under one roof: beat_schedule, periodic tasks, late functions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.schedules import crontab, schedule

from celery_legion import Legion
from celery_legion.context import Context
from celery_legion.errors import ConfigurationError, DuplicateJobError, UnknownJobError
from celery_legion.job import Overlap, Source
from celery_legion.push import PushError
from celery_legion.registry import Registry
from celery_legion.triggers import Cron, Interval
from tests.unit.registration.chores import prune


def test_beat_schedule_and_periodic_tasks_become_jobs(app: Celery, legion: Legion) -> None:
    app.conf.beat_schedule = {
        "five": {"task": "t", "schedule": 5, "args": (1,), "kwargs": {"a": 2}, "options": {"queue": "q", "expires": 9}}
    }
    task = app.task(prune, name="prune")
    app.on_after_finalize.connect(
        lambda sender, **_: sender.add_periodic_task(crontab(hour=7, minute=30), task.s(), name="morning"), weak=False
    )
    app.finalize()

    jobs = legion.jobs
    assert jobs["five"].trigger == Interval(timedelta(seconds=5))
    assert (jobs["five"].args, dict(jobs["five"].kwargs)) == ((1,), {"a": 2})
    assert dict(jobs["five"].options) == {"queue": "q", "expires": 9}
    assert jobs["five"].source is Source.BEAT
    assert jobs["morning"].trigger == Cron("30 7 * * *", days="and")


def test_without_legion_entries_may_overlap_as_they_always_could(app: Celery) -> None:
    app.conf.beat_schedule = {"five": {"task": "t", "schedule": 5}}

    assert Context.of(app).registry.jobs["five"].policy.overlap is Overlap.ALLOW
    Legion(app)
    fresh = Celery("other", broker="redis://localhost:6379/0")
    fresh.conf.beat_schedule = {"five": {"task": "t", "schedule": 5}}
    assert Legion(fresh).jobs["five"].policy.overlap is Overlap.SKIP


def test_options_are_copied_since_celery_writes_into_them(app: Celery, legion: Legion) -> None:
    options = {"headers": {"a": 1}}
    app.conf.beat_schedule = {"x": {"task": "t", "schedule": 5, "options": options}}

    copied = legion.jobs["x"].options["headers"]
    assert copied == {"a": 1}
    assert copied is not options["headers"]


class Unready(schedule):
    """A schedule of a user's class that fails when it is made known to the app."""

    @property
    def app(self) -> Any:
        raise KeyError("no app")

    @app.setter
    def app(self, app: Any) -> None:
        raise KeyError("no app")


class Unreadable(dict[str, Any]):
    """An entry that is read when it is asked."""

    def get(self, key: str, default: Any = None) -> Any:
        raise OSError("the database is away")


@pytest.mark.parametrize(
    ("entry", "hint"),
    [
        ({"schedule": 5}, "give it a 'task'"),
        ({"task": "t"}, "no schedule that works"),
        ({"task": "t", "schedule": "often"}, "use crontab"),
        ({"task": "t", "schedule": crontab}, "write crontab"),
        ({"task": "t", "schedule": 0}, "at least timedelta"),
        ({"task": "t", "schedule": Unready(5)}, "no app"),
        ({"task": "t", "schedule": 5, "args": 16}, "comma"),
        ({"task": "t", "schedule": 5, "kwargs": "{}"}, "no dict"),
        ({"task": "t", "schedule": 5, "options": ["q"]}, "no dict"),
        ({"task": "t", "schedule": 5, "enabled": False}, "'enabled' that means nothing"),
        (({"task": "t", "schedule": 5},), "remove the comma"),
        ("t", "is a str"),
        (None, "is a NoneType"),
        ({}, "names no task"),
        (Unreadable(task="t", schedule=5), "the database is away"),
    ],
)
def test_an_entry_that_is_written_wrongly_keeps_its_place_with_its_problem_and_the_others_stay(
    app: Celery, legion: Legion, entry: Any, hint: str
) -> None:
    app.conf.beat_schedule = {"broken": entry, "good": {"task": "t", "schedule": 5}}

    jobs = legion.jobs
    assert hint in jobs["broken"].problem
    assert jobs["broken"].trigger.next_after(datetime(2026, 1, 1, tzinfo=UTC)) is None
    assert jobs["good"].problem == ""


def test_beats_deadline_holds_for_crontabs_of_beat_schedule_alone(app: Celery, legion: Legion) -> None:
    app.conf.beat_cron_starting_deadline = 600
    app.conf.beat_schedule = {
        "timed": {"task": "t", "schedule": crontab(hour=9)},
        "interval": {"task": "t", "schedule": 5},
    }
    legion.task("t").name("code").cron("0 9 * * *")

    found = {name: job.policy.send_deadline for name, job in legion.jobs.items()}
    assert found == {"timed": timedelta(minutes=10), "interval": None, "code": None}


@pytest.mark.parametrize("wrong", [-1, "soon", [5]])
def test_a_deadline_that_is_no_number_of_seconds_is_refused(app: Celery, legion: Legion, wrong: Any) -> None:
    app.conf.beat_cron_starting_deadline = wrong

    with pytest.raises(ConfigurationError, match="beat_cron_starting_deadline"):
        legion.jobs


def test_an_entry_may_not_be_called_what_pause_takes_for_all(app: Celery, legion: Legion) -> None:
    app.conf.beat_schedule = {"*": {"task": "t", "schedule": 5}}

    assert "means all jobs" in legion.jobs["*"].problem


def test_a_number_is_a_name_as_it_is_to_beat(app: Celery, legion: Legion) -> None:
    app.conf.beat_schedule = {7: {"task": "t", "schedule": 5}}

    assert legion.jobs["7"].problem == ""


def test_a_schedule_that_is_no_dict_is_refused(app: Celery, legion: Legion) -> None:
    app.conf.beat_schedule = [{"task": "t", "schedule": 5}]

    with pytest.raises(ConfigurationError, match="beat_schedule"):
        legion.jobs


def test_a_wrong_entry_cannot_be_pushed(app: Celery, legion: Legion) -> None:
    app.conf.beat_schedule = {"broken": {"task": "t", "schedule": "often"}}

    with pytest.raises(PushError, match="written wrongly"):
        legion.push("broken")


def test_a_name_in_code_and_in_beat_schedule_is_refused(app: Celery, legion: Legion) -> None:
    app.conf.beat_schedule = {"same": {"task": "t", "schedule": 5}}
    legion.call(prune).hourly().name("same")

    with pytest.raises(DuplicateJobError, match="beat_schedule"):
        legion.jobs


def test_late_functions_run_once_before_the_schedule_is_first_read(legion: Legion) -> None:
    calls = []

    @legion.on_enable
    def register() -> None:
        calls.append(1)
        legion.call(prune).hourly()

    assert calls == []
    assert "tests.unit.registration.chores.prune" in legion.jobs
    legion.jobs
    assert calls == [1]


def test_the_mapping_is_the_same_until_something_is_added(legion: Legion) -> None:
    before = legion.jobs
    assert legion.jobs is before

    legion.call(prune).hourly()

    assert legion.jobs is not before


def test_an_unknown_name_says_what_was_meant(legion: Legion) -> None:
    legion.call(prune).hourly().name("nightly")

    with pytest.raises(UnknownJobError, match="did you mean 'nightly'"):
        legion.context.registry.get("nightli")


def test_the_fingerprint_changes_with_triggers_names_and_tasks(app: Celery, legion: Legion) -> None:
    legion.call(prune).hourly().name("a")
    first = legion.context.registry.fingerprint()
    assert legion.context.registry.fingerprint() == first

    legion.call(prune).hourly().name("b")

    assert legion.context.registry.fingerprint() != first


def test_legion_made_twice_is_one_schedule(app: Celery, legion: Legion) -> None:
    legion.call(prune).hourly()

    assert "tests.unit.registration.chores.prune" in Legion(app).jobs


def test_a_periodic_task_added_late_is_a_job_all_the_same(app: Celery, legion: Legion) -> None:
    task = app.task(prune, name="prune")

    @app.on_after_finalize.connect
    def register(sender: Celery, **_: object) -> None:
        sender.add_periodic_task(5, task.s(), name="at-finalize")

    assert "at-finalize" in legion.jobs
    app.add_periodic_task(5, task.s(), name="afterwards")
    assert "afterwards" in legion.jobs


def test_a_loop_that_gives_two_jobs_one_name_is_refused(legion: Legion) -> None:
    for seconds in (5, 7):
        legion.call(prune).every(seconds)

    with pytest.raises(DuplicateJobError, match="give one of them another name"):
        legion.jobs


def test_legion_that_comes_after_the_schedule_was_read_guards_it(app: Celery) -> None:
    app.conf.beat_schedule = {"five": {"task": "t", "schedule": 5}}
    assert Context.of(app).registry.jobs["five"].policy.overlap is Overlap.ALLOW

    assert Legion(app).jobs["five"].policy.overlap is Overlap.SKIP


def test_a_condition_that_cannot_be_hashed_is_fine(legion: Legion) -> None:
    class Gate(list[int]):
        def __call__(self) -> bool:
            return True

    legion.call(prune).hourly().when(Gate()).name("gated")

    assert len(legion.jobs["gated"].policy.when) == 1


def test_a_hundred_jobs_on_one_crontab_share_one_trigger(app: Celery, legion: Legion) -> None:
    app.conf.beat_schedule = {str(n): {"task": "t", "schedule": crontab(minute=0)} for n in range(100)}

    assert len({id(job.trigger) for name, job in legion.jobs.items() if name.isdigit()}) == 1


def test_without_a_result_backend_there_are_no_results_to_clean_up() -> None:
    app = Celery("shop", broker="redis://localhost/0", set_as_current=False)
    assert "celery.backend_cleanup" not in Registry(app).jobs
    kept = Celery("shop", broker="redis://localhost/0", backend="file:///tmp", set_as_current=False)
    assert "celery.backend_cleanup" in Registry(kept).jobs
