"""Whatever ends a command's run, no process of it is left, and its lock is not free before."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

from celery_legion.run import Record, State
from tests.servers.polling import eventually
from tests.worker.survivors import parent, survivors, watch
from tests.worker.trial import Trial

pytestmark = pytest.mark.e2e

GENTLE = "sleep 100 & setsid sleep 100 & wait"
DEAF = "sh -c 'trap \"\" TERM; while :; do sleep 0.2; done'"
STUBBORN = f"trap '' TERM; {DEAF} & setsid {DEAF} & wait"
KILLED, TERMED = 2.0, 6.0
"""Seconds within which all are dead: killed or willing, and unwilling ones."""


def start(trial: Trial, line: str, **options: Any) -> str:
    run = trial.command("backup", **options)
    processes = 3 if line == GENTLE else 4
    eventually(lambda: len(survivors(run)) >= processes, 20, "the command's processes")
    return run


def child_of(trial: Trial, run: str) -> int:
    """Return the pool process that executes a run: the parent of the shim, whose child the command is."""
    leader = eventually(lambda: trial.record(run).pid, 10, "the command's process id")
    shim = parent(leader)
    return parent(shim)


@pytest.fixture(params=[GENTLE, STUBBORN], ids=["gentle", "stubborn"])
def line(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def backup(new_trial: Callable[..., Trial], line: str) -> Trial:
    return new_trial(commands={"backup": {"line": line}}, lease=6)


def bound(line: str) -> float:
    return KILLED if line == GENTLE else TERMED


def verdict(record: Record) -> tuple[State, str | None]:
    return record.state, record.reason


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_interrupt(backup: Trial, line: str, pool: str) -> None:
    backup.worker("-P", pool, "-c", "1")
    run = start(backup, line)
    # Solo hears of it at its next renewal, two seconds with this lease.
    later = 2.5 if pool == "solo" else 0.0
    watch(backup, run, "backup", lambda: backup.legion("interrupt", run, "--wait", "0s").wait(), bound(line) + later)
    assert verdict(backup.ended(run)) == (State.INTERRUPTED, "terminated")
    assert backup.record(run).exit_code == (-15 if line == GENTLE else -9)


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_timeout(new_trial: Callable[..., Trial], line: str, pool: str) -> None:
    trial = new_trial(commands={"backup": {"line": line, "timeout": "1500ms"}})
    trial.worker("-P", pool, "-c", "1")
    run = start(trial, line)
    watch(trial, run, "backup", lambda: None, 1.5 + bound(line))
    assert verdict(trial.ended(run)) == (State.FAILED, "time_limit")


def test_hard_limit(backup: Trial, line: str) -> None:
    backup.worker("-c", "1")
    run = start(backup, line, time_limit=2)
    watch(backup, run, "backup", lambda: None, 2 + KILLED)
    assert verdict(backup.ended(run)) == (State.FAILED, "time_limit")


def test_soft_limit(backup: Trial, line: str) -> None:
    backup.worker("-c", "1")
    run = start(backup, line, soft_time_limit=2, time_limit=60)
    watch(backup, run, "backup", lambda: None, 2 + bound(line))
    assert verdict(backup.ended(run)) == (State.FAILED, "time_limit")


@pytest.mark.parametrize("pool", ["prefork", "threads"])
@pytest.mark.parametrize("number", ["SIGTERM", "SIGKILL"])
def test_flowers_terminate(backup: Trial, line: str, number: str, pool: str) -> None:
    backup.worker("-P", pool, "-c", "1")
    run = start(backup, line)
    within = bound(line) if number == "SIGTERM" else KILLED
    watch(backup, run, "backup", lambda: backup.client.control.revoke(run, terminate=True, signal=number), within)
    assert verdict(backup.ended(run)) == (State.INTERRUPTED, "terminated")


def test_kill_9_of_the_pool_child(backup: Trial, line: str) -> None:
    backup.worker("-c", "1")
    run = start(backup, line)
    child = child_of(backup, run)
    watch(backup, run, "backup", lambda: os.kill(child, signal.SIGKILL), KILLED)
    assert verdict(backup.ended(run)) == (State.FAILED, "process_lost")


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_kill_9_of_the_workers_main_process(backup: Trial, line: str, pool: str) -> None:
    worker = backup.worker("-P", pool, "-c", "1")
    backup.beat()
    run = start(backup, line)
    watch(backup, run, "backup", worker.kill9, KILLED, 30)
    assert verdict(backup.ended(run)) == (State.LOST, "process_lost")


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_warm_shutdown_waits_for_the_command(new_trial: Callable[..., Trial], pool: str) -> None:
    trial = new_trial(commands={"backup": {"line": "sleep 3 & setsid sleep 100 & wait %1; echo done"}})
    worker = trial.worker("-P", pool, "-c", "1")
    run = start(trial, GENTLE)
    watch(trial, run, "backup", lambda: worker.signal(signal.SIGTERM), 3 + KILLED)
    assert worker.wait() == 0
    assert (trial.record(run).state, trial.record(run).output) == (State.SUCCEEDED, "done\n")


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGTERM], ids=["quit", "term-then-quit"])
def test_cold_shutdown(backup: Trial, line: str, number: signal.Signals) -> None:
    worker = backup.worker("-c", "1")
    run = start(backup, line)

    def shut_down() -> None:
        worker.signal(number)
        if number is signal.SIGTERM:
            worker.wait_for("Warm shutdown")
            worker.signal(signal.SIGQUIT)

    watch(backup, run, "backup", shut_down, bound(line))
    assert verdict(backup.ended(run)) == (State.INTERRUPTED, "shutdown")
    worker.wait()


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_kill_9_of_the_shim(backup: Trial, line: str, pool: str) -> None:
    backup.worker("-P", pool, "-c", "1")
    run = start(backup, line)
    shim = parent(eventually(lambda: backup.record(run).pid, 10, "the command's process id"))
    watch(backup, run, "backup", lambda: os.kill(shim, signal.SIGKILL), KILLED)
    end = backup.ended(run)
    assert (end.state, "was killed with its shim" in (end.error or "")) == (State.FAILED, True)


HOP = """
import os, time
end = time.time() + 60
while time.time() < end:
    if os.fork():
        os._exit(0)
    os.setsid()
"""


def test_a_process_that_forks_and_exits_without_end_is_caught(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(commands={"backup": {"line": f"{sys.executable} -S -c '{HOP}' & sleep 1; echo done"}})
    trial.worker("-c", "1")
    run = trial.command("backup")
    end = trial.ended(run, 30)
    assert (end.state, end.output) == (State.SUCCEEDED, "done\n")
    for _ in range(20):
        assert survivors(run) == []


def test_an_exit_leaves_no_background_process(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(commands={"backup": {"line": "setsid sleep 100 & (setsid sleep 100 &) ; exit 3"}})
    trial.worker("-c", "1")
    run = trial.command("backup")
    watch(trial, run, "backup", lambda: None, 2 * KILLED)
    end = trial.ended(run)
    assert (end.state, end.exit_code) == (State.FAILED, 3)
