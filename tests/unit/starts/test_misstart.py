"""What is said of a beat or a worker that schedules nothing of Legion(app), by how it was started."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, signals
from celery.beat import PersistentScheduler

from celery_legion import Legion, Scheduler
from celery_legion.misstart import app_option, beside, mistaken_state, watch

BEAT = ("celery", "-A", "shop", "beat")
WORKER = ("celery", "--app=shop", "worker", "-B")


class Started(SimpleNamespace):
    """What Celery hands to receivers of its signals."""

    __hash__ = object.__hash__


def service(scheduler: type[Any], *names: str, guarded: bool = True) -> Any:
    app = Celery("shop", broker="memory://", set_as_current=False)
    if guarded:
        legion = Legion(app)
        for name in names:
            legion.task("t").hourly().name(name)
    made = scheduler.__new__(scheduler)
    return Started(app=app, scheduler=made)


def test_a_plain_beat_is_told_which_jobs_it_does_not_send_and_the_command() -> None:
    said = beside(service(PersistentScheduler, "b", "a"), BEAT)

    assert said is not None
    assert "celery.beat.PersistentScheduler" in said
    assert "the 2 jobs of Legion(app): a, b" in said
    assert "`celery -A shop beat -S celery_legion.Scheduler`" in said


def test_a_workers_own_beat_is_told_the_option_that_it_needs() -> None:
    said = beside(service(PersistentScheduler, "a"), WORKER)

    assert said is not None
    assert "`celery -A shop worker -B --scheduler celery_legion.Scheduler`" in said


def test_of_many_jobs_a_few_are_named() -> None:
    said = beside(service(PersistentScheduler, *(f"job-{number}" for number in range(9))), BEAT)

    assert said is not None
    assert "job-4 and 4 more" in said
    assert "job-5" not in said


@pytest.mark.parametrize(
    "fine",
    [
        service(Scheduler, "a"),
        service(type("Own", (Scheduler,), {}), "a"),
        service(PersistentScheduler),
        service(PersistentScheduler, guarded=False),
    ],
    ids=["ours", "a class over ours", "no jobs of its own", "no Legion(app)"],
)
def test_nothing_is_said_of_what_is_as_it_should_be(fine: Any) -> None:
    assert beside(fine, BEAT) is None


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("celery_legion.Scheduler", "celery_legion.Scheduler"),
        ("celery_legion.beat:Scheduler", "celery_legion.Scheduler"),
        ("legion", "celery_legion.Scheduler"),
        ("redbeat.RedBeatScheduler", "redbeat.RedBeatScheduler"),
    ],
)
def test_a_worker_whose_state_file_is_called_like_a_scheduler_is_told(file: str, name: str) -> None:
    said = mistaken_state(SimpleNamespace(app=Celery("shop"), statedb=file), WORKER)

    assert said is not None
    assert f"writes a file {file!r}" in said
    assert f"`celery -A shop worker -B --scheduler {name}`" in said


@pytest.mark.parametrize("file", [None, "", "/var/run/celery/worker.state", "worker.db", "legion.state"])
def test_a_worker_with_an_honest_state_file_is_not(file: str | None) -> None:
    assert mistaken_state(SimpleNamespace(app=Celery("shop"), statedb=file), WORKER) is None


@pytest.mark.parametrize(
    ("argv", "option"),
    [
        (["celery", "-A", "my shop", "beat"], "-A 'my shop'"),
        (["celery", "--app", "shop:app", "beat"], "-A shop:app"),
        (["celery", "-Ashop", "beat"], "-A shop"),
        (["celery", "beat"], "-A named"),
    ],
)
def test_the_command_names_the_app_as_it_was_named(
    argv: list[str], option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("APP", raising=False)
    assert app_option(argv, SimpleNamespace(main="named")) == option


def test_both_are_logged_when_celery_says_that_it_starts(caplog: pytest.LogCaptureFixture) -> None:
    beat = service(PersistentScheduler, "a")
    worker = SimpleNamespace(app=beat.app, statedb="celery_legion.Scheduler")
    signals.beat_init.send(sender=beat)
    signals.celeryd_after_setup.send(sender="w", instance=worker, conf=None)

    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "does not send the 1 job of Legion(app): a" in caplog.messages[0]
    assert "writes a file" in caplog.messages[1]


def test_what_cannot_be_looked_at_keeps_nothing_from_starting(caplog: pytest.LogCaptureFixture) -> None:
    watch()
    signals.beat_init.send(sender=object())
    signals.celeryd_after_setup.send(sender="w", instance=None, conf=None)

    assert caplog.records == []
