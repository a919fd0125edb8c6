"""A worker that was away for longer than a run's lease ends that run: another may run in its place."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from celery_legion.run import State
from tests.servers.polling import eventually
from tests.servers.processes import Process
from tests.worker.survivors import descendants, survivors
from tests.worker.trial import Trial

pytestmark = pytest.mark.e2e

LEASE = 1.0


def pause(worker: Process) -> list[int]:
    """Stop a worker with all that it has started, as a suspended machine does."""
    family = [worker.pid, *descendants(worker.pid)]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    return family


def reap(trial: Trial, run: str) -> None:
    eventually(lambda: trial.store.reap(10) and trial.record(run).state is State.LOST, 10, "the run is lost")


def test_a_callable_is_ended_when_its_worker_comes_back(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(lease=LEASE)
    worker = trial.worker("-c", "1")
    run = trial.run("work", {"seconds": 6})
    trial.started(run)

    family = pause(worker)
    reap(trial, run)
    for pid in family:
        os.kill(pid, signal.SIGCONT)
    worker.wait_for(f"lease of run {run} was lost, another may run in its place: it is ended", 10)
    after = trial.run("work")

    assert trial.ended(after).state is State.SUCCEEDED
    assert trial.lines(run, "end") == []
    assert trial.record(run).state is State.LOST
    assert worker.terminate() == 0


def test_a_command_is_ended_when_its_worker_comes_back(new_trial: Callable[..., Trial], tmp_path: Path) -> None:
    done = tmp_path / "done"
    trial = new_trial(lease=LEASE, commands={"long": {"line": f"echo begun; sleep 8; touch {done}"}})
    worker = trial.worker("-c", "1")
    run = trial.command("long")
    eventually(lambda: survivors(run), 15, "the command runs")
    eventually(lambda: trial.record(run).state is State.RUNNING, 5, "the run has begun")

    family = pause(worker)
    reap(trial, run)
    for pid in family:
        os.kill(pid, signal.SIGCONT)
    worker.wait_for(f"lease of run {run} was lost, another may run in its place: it is ended", 10)
    eventually(lambda: not survivors(run), 10, "the command is gone")

    assert not done.exists()
    assert trial.record(run).state is State.LOST
    assert worker.terminate() == 0
