"""Pools whose processes are fresh interpreters, by Celery's setting or by billiard's default, as on a Mac."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from celery_legion.run import State
from tests.servers.polling import eventually
from tests.worker.trial import Trial

pytestmark = pytest.mark.e2e

METHODS = {"by the setting": {"TRIAL_START_METHOD": "spawn"}, "by default": {"TRIAL_BILLIARD": "spawn"}}
COMMANDS = {"busy": {"line": "echo $LEGION_JOB; exit 3"}}


@pytest.mark.parametrize("method", ["by the setting", "by default", "forkserver"])
def test_spawned_processes_record_ends_hooks_output_and_commands(new_trial: Callable[..., Trial], method: str) -> None:
    trial = new_trial(hooks=True, commands=COMMANDS)
    trial.worker("--autoscale", "2,1", "--max-tasks-per-child", "4", **METHODS.get(method, {"TRIAL_BILLIARD": method}))
    work, fail, again, lost = (trial.run(task) for task in ("work", "fail", "again", "suicide"))
    command = trial.command("busy")
    talk = trial.run("talk", {"text": "home"}, job="talkative")
    more = [trial.run("work") for _ in range(4)]
    found = {run: trial.ended(run, 40) for run in (work, fail, again, lost, command, talk, *more)}
    assert [found[run].state for run in (work, again, talk, *more)] == [State.SUCCEEDED] * 7
    assert (found[fail].state, found[fail].error) == (State.FAILED, "ValueError: no luck")
    assert (found[lost].state, found[lost].reason) == (State.FAILED, "process_lost")
    assert (found[command].exit_code, found[command].output) == (3, "busy\n")
    assert "printed home" in str(found[talk].output)
    assert found[again].attempt == 2
    eventually(
        lambda: trial.count("hook:on_success")[work] == trial.count("hook:on_failure")[command] == 1, 10, "hooks"
    )
    assert {line["pid"] for line in trial.lines(work)} == {found[work].pid}
    # What a command's process is called by, it was told by the pool process on its way home.
    assert found[command].pid not in (None, found[work].pid)


def test_an_app_without_tasks_has_its_jobs_hooks_and_commands_in_spawned_processes(
    new_trial: Callable[..., Trial],
) -> None:
    trial = new_trial(hooks=True)
    trial.worker("-c", "1", app="tests.worker.taskless", TRIAL_START_METHOD="spawn")
    runs = {}
    for job, task in {"sweep": "tests.worker.errands.sweep", "lambda": "lambda"}.items():
        runs[job], headers = trial.claim(job)
        trial.client.send_task(task, task_id=runs[job], headers=headers)
    runs["stumble"], headers = trial.claim("stumble")
    trial.client.send_task("tests.worker.errands.stumble", task_id=runs["stumble"], headers=headers)
    runs["line"] = trial.command("line")
    found = {job: trial.ended(run, 30) for job, run in runs.items()}
    assert found["sweep"].state is State.SUCCEEDED, found["sweep"]
    assert (found["lambda"].state, found["lambda"].output) == (State.SUCCEEDED, "heard\n")
    assert (found["stumble"].state, found["line"].exit_code) == (State.FAILED, 3)
    for job in ("stumble", "line"):
        told = eventually(lambda job=job: trial.record(runs[job]).hook_error, 10, "the hook")
        assert told == f"tell: RuntimeError: told of {job}", told
