"""Whoever can write to the broker cannot have anything executed that the schedule does not run just then."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Timer
from typing import Any
from uuid import uuid4

import pytest

from celery_legion.command import TASK
from celery_legion.run import State
from tests.servers.polling import eventually
from tests.worker.trial import Trial

pytestmark = pytest.mark.e2e


class Stage:
    """A worker with two commands, each of which leaves a trace, and a queue that anyone can write to."""

    def __init__(self, trial: Trial, folder: Path) -> None:
        self.trial, self.folder = trial, folder
        self.worker = trial.worker("-c", "1")

    def send(self, *args: Any, headers: Any = None, run: str | None = None, **kwargs: Any) -> str:
        run = run or str(uuid4())
        self.trial.client.send_task(TASK, args=list(args), kwargs=kwargs, task_id=run, headers=headers or {})
        return run

    def refused(self, run: str, why: str) -> None:
        eventually(lambda: self.why(run, why), 15, f"{why}:\n{self.worker.output[-2000:]}")

    def why(self, run: str, why: str) -> bool:
        lines = self.worker.output.splitlines()
        return any(why in line for line in lines) and any(run in line for line in lines)

    @property
    def traces(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


@pytest.fixture
def stage(new_trial: Callable[..., Trial], tmp_path: Path) -> Stage:
    folder = tmp_path / "traces"
    folder.mkdir()
    trial = new_trial(
        commands={
            "one": {"line": f"touch {folder}/one"},
            "two": {"line": f"touch {folder}/two"},
        }
    )
    return Stage(trial, folder)


def test_a_message_without_a_run_executes_nothing(stage: Stage) -> None:
    stage.refused(stage.send("one"), "the message belongs to no run that has begun")
    stage.refused(stage.send(f"touch {stage.folder}/evil"), "the message belongs to no run that has begun")
    assert stage.traces == set()


def test_a_message_with_a_commands_text_executes_nothing_and_the_run_goes_its_way(stage: Stage) -> None:
    run, headers = stage.trial.claim("one")
    evil = f"touch {stage.folder}/evil"
    stage.send(evil, headers=headers, run=run)
    stage.refused(run, "the message names another job than its run's, 'touch")
    stage.send("one", headers=headers, run=run, line=evil)
    stage.refused(run, "the message says more than a job's name")
    stage.send("one", evil, headers=headers, run=run)
    stage.send("two", headers=headers, run=run)
    stage.refused(run, "the message names another job than its run's, 'two'")
    assert stage.traces == set()
    # None of them has taken the place of the real message.
    stage.send("one", headers=headers, run=run)
    assert stage.trial.ended(run).state is State.SUCCEEDED
    assert stage.traces == {"one"}


def test_a_message_for_another_jobs_run_executes_nothing(stage: Stage) -> None:
    run, headers = stage.trial.claim("one")
    forged = {"legion": {**headers["legion"], "job": "two"}}
    stage.send("two", headers=forged, run=run)
    stage.refused(run, "the store knows no such run of job two")
    assert stage.traces == set()


@pytest.mark.parametrize("kind", ["scheduled", "pushed", "manual", "backfill"])
def test_a_run_that_the_store_does_not_know_executes_nothing(stage: Stage, kind: str) -> None:
    _, headers = stage.trial.claim("one")
    fire = int(datetime.now(UTC).timestamp() * 1000)
    run = stage.send("two", headers={"legion": {**headers["legion"], "job": "two", "kind": kind, "fire": fire}})
    stage.refused(run, "the store knows no such run of job two")
    assert stage.traces == set()
    assert stage.trial.store.get(run) is None


@pytest.mark.parametrize(
    ("job", "why"),
    [("talkative", "to this worker the job is no command"), ("three", "this worker knows no job of that name")],
)
def test_a_job_that_is_no_command_or_unknown_executes_nothing_and_its_run_fails(
    stage: Stage, job: str, why: str
) -> None:
    run, headers = stage.trial.claim(job)
    stage.send(job, headers=headers, run=run)
    ended = stage.trial.ended(run)
    assert (ended.state, why in (ended.error or "")) == (State.FAILED, True)
    assert stage.traces == set()
    # Its job is free for the next fire.
    assert stage.trial.store.locks() == []


def test_a_header_that_claims_to_have_begun_executes_nothing(stage: Stage) -> None:
    _, headers = stage.trial.claim("one")
    run = stage.send("one", headers={"legion": {**headers["legion"], "token": 1, "attempt": 1}})
    stage.refused(run, "the store knows no such run of job one")
    header = {"v": 99, **{key: value for key, value in headers["legion"].items() if key != "v"}}
    run = stage.send("one", headers={"legion": header})
    stage.refused(run, "header is not valid")
    run = stage.send("one", headers={"legion": "one"})
    stage.refused(run, "header is not valid")
    assert stage.traces == set()


def test_the_message_says_nothing_of_the_command(stage: Stage) -> None:
    trial = stage.trial
    stage.worker.terminate()
    trial.command("one")
    with trial.client.connection_for_read() as connection:
        message = connection.SimpleQueue("celery").get(timeout=10)
    shown = f"{message.payload} {message.headers} {message.properties}"
    assert "touch" not in shown
    assert message.headers["shadow"] == "one"
    assert message.headers["argsrepr"] == "['one']"


def test_monitors_are_shown_the_command_with_its_secrets_masked(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(commands={"one": {"line": "echo s3cr3t", "secret": ["s3cr3t"]}})
    trial.worker("-c", "1", "-E")
    seen: list[dict[str, Any]] = []
    with trial.client.connection_for_read() as connection:
        receiver = trial.client.events.Receiver(connection, handlers={"task-received": seen.append})
        sending = Timer(1, lambda: trial.command("one"))
        sending.start()
        events = receiver.itercapture(timeout=15)
        next(events)
        eventually(lambda: seen or next(events, None), 15, "the event")
        sending.join()
    assert (seen[0]["name"], seen[0]["args"]) == ("one", "('echo ***',)")
