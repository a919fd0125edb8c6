"""All endings of a run, in every pool: the ledger's record, and which hooks were called, how often, and where."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from celery_legion.hook import TASK as TASK_OF_HOOKS
from celery_legion.run import Reason, State
from celery_legion.stores.base import Granted, Outcome, Retention
from tests.servers.polling import eventually
from tests.worker.trial import Trial

pytestmark = pytest.mark.e2e

COMMANDS = {"backup": {"line": "echo out; exit 3"}, "endless": {"line": "sleep 100"}}
HERE, TASK = "where it ended", "as a task"
OK, BAD = ("on_success", "after"), ("on_failure", "after")
ALL = ("prefork", "threads", "solo", "gevent")


@dataclass(frozen=True)
class Row:
    """One ending: how it comes about, and what is expected of it in which pools."""

    name: str
    arrange: Callable[[Trial], str]
    state: State
    reason: str | None
    hooks: tuple[str, ...]
    where: str
    attempts: int = 1
    pools: tuple[str, ...] = ALL
    checks: dict[str, Any] = field(default_factory=dict)


def killed(number: str) -> Callable[[Trial], str]:
    def arrange(trial: Trial) -> str:
        run = trial.run("work", {"seconds": 60})
        trial.started(run)
        trial.client.control.revoke(run, terminate=True, signal=number)
        return run

    return arrange


def terminated_command(trial: Trial) -> str:
    run = trial.command("endless")
    eventually(lambda: trial.record(run).pid, 15, "the command")
    trial.client.control.revoke(run, terminate=True)
    return run


def revoked(trial: Trial) -> str:
    run = trial.run("work", eta=datetime.now(UTC) + timedelta(seconds=1.5))
    eventually(lambda: f"{run}] received" in trial.logs(), 10, "the message")
    trial.client.control.revoke(run)
    return run


def expired(trial: Trial) -> str:
    return trial.run("work", expires=datetime.now(UTC) - timedelta(seconds=1))


def skipped(trial: Trial) -> str:
    holder, _ = trial.claim("busy")
    # A fire is known by its millisecond.
    time.sleep(0.01)
    with pytest.raises(AssertionError, match=Granted.OVERLAP.value):
        trial.claim("busy")
    trial.store.interrupt(holder, signal.SIGTERM, timedelta(0))
    return "skip"


def missed(trial: Trial) -> str:
    run, _ = trial.claim()
    trial.store.end(run, 0, Outcome(state=State.MISSED, reason=Reason.BROKER), Retention())
    return run


def main_killed(trial: Trial) -> str:
    run = trial.run("work", {"seconds": 60})
    trial.started(run)
    trial.workers[0].kill9()
    trial.worker("-P", "prefork", "-c", "1")
    return run


ROWS = [
    Row("success", lambda trial: trial.run("work"), State.SUCCEEDED, None, OK, HERE),
    Row("exception", lambda trial: trial.run("fail"), State.FAILED, None, BAD, HERE),
    Row(
        "non-zero exit",
        lambda trial: trial.command("backup"),
        State.FAILED,
        None,
        BAD,
        HERE,
        checks={"code": 3, "output": "out\n"},
    ),
    Row("soft limit", lambda trial: trial.run("soft"), State.FAILED, "time_limit", BAD, HERE, pools=("prefork",)),
    Row(
        "hard limit",
        lambda trial: trial.run("too_long"),
        State.FAILED,
        "time_limit",
        BAD,
        TASK,
        pools=("prefork", "gevent"),
    ),
    Row("revoked before its start", revoked, State.INTERRUPTED, "revoked", BAD, TASK, attempts=0),
    Row("expired", expired, State.EXPIRED, "expires", BAD, TASK, attempts=0),
    Row(
        "terminate, TERM",
        killed("SIGTERM"),
        State.INTERRUPTED,
        "terminated",
        BAD,
        TASK,
        pools=("prefork", "gevent"),
    ),
    Row(
        "terminate, KILL",
        killed("SIGKILL"),
        State.INTERRUPTED,
        "terminated",
        BAD,
        TASK,
        pools=("prefork", "gevent"),
    ),
    Row(
        "terminate, a command",
        terminated_command,
        State.INTERRUPTED,
        "terminated",
        BAD,
        HERE,
        pools=("prefork", "threads", "gevent"),
    ),
    Row(
        "child killed", lambda trial: trial.run("suicide"), State.FAILED, "process_lost", BAD, TASK, pools=("prefork",)
    ),
    Row("retry, then success", lambda trial: trial.run("again"), State.SUCCEEDED, None, OK, HERE, attempts=2),
    Row("skipped", skipped, State.SKIPPED, "overlap", ("on_skipped",), TASK, attempts=0),
    Row("missed", missed, State.MISSED, "broker", ("on_missed",), TASK, attempts=0),
    Row("main killed", main_killed, State.LOST, "process_lost", BAD, TASK),
]


def called(trial: Trial, row: Row, run: str) -> list[dict[str, Any]]:
    lines = [line for line in trial.lines() if line["event"].startswith("hook:")]
    if row.name == "skipped":
        return [line for line in lines if line["job"] == "busy" and line["event"] == "hook:on_skipped"]
    return [line for line in lines if line["id"] == run]


def wait_for_hooks(trial: Trial, row: Row, run: str) -> None:
    wanted = row.attempts + len(row.hooks)
    try:
        eventually(lambda: len(called(trial, row, run)) >= wanted, 40, f"{row.name}: {wanted} hooks")
    except AssertionError as exc:
        raise AssertionError(f"{exc}\n{trial.logs()[-6000:]}") from exc


@pytest.mark.parametrize("pool", ALL)
def test_every_ending_calls_its_hooks_once(new_trial: Callable[..., Trial], pool: str) -> None:
    trial = new_trial(commands=COMMANDS, hooks=True, lease=6)
    trial.worker("-P", pool, "-c", "1" if pool != "gevent" else "10")
    trial.beat()
    rows = [row for row in ROWS if pool in row.pools]
    runs = {}
    for row in rows:
        run = runs[row.name] = row.arrange(trial)
        wait_for_hooks(trial, row, run)
    # Whatever were called twice would be by now: the longest is a lease.
    time.sleep(2)
    print(f"\n{pool}: {'ending':<28}{'record':<28}{'hooks':<40}where")
    for row in rows:
        run = runs[row.name]
        lines = called(trial, row, run)
        names = [line["event"].removeprefix("hook:") for line in lines]
        ends = [line for line in lines if line["event"] != "hook:before"]
        record = trial.store.runs("busy", 5)[0] if row.name == "skipped" else trial.record(run)
        where = TASK if {line["task"] for line in ends} == {"celery_legion.hooks"} else HERE
        print(f"{pool}: {row.name:<28}{record.state}({record.reason})".ljust(60), f"{', '.join(names):<40}{where}")
        assert names == [*("before",) * row.attempts, *row.hooks], row.name
        assert (record.state, record.reason) == (row.state, row.reason), row.name
        assert where == row.where, row.name
        assert {(line["state"], line["reason"]) for line in ends} == {(row.state.value, row.reason)}, row.name
        for key, value in row.checks.items():
            assert {line[key] for line in ends} == {value}, (row.name, key)


def test_a_hook_that_was_killed_in_the_middle_is_called_again_with_the_same_run(
    new_trial: Callable[..., Trial],
) -> None:
    trial = new_trial(hooks=True, lease=6, env={"TRIAL_HOOK_SECONDS": "3"})
    first = trial.worker("-c", "1")
    trial.beat()
    run = trial.run("work")
    eventually(lambda: trial.lines(run, "hook:on_success"), 30, "the first hook")
    first.kill_group()
    assert trial.record(run).state is State.SUCCEEDED
    trial.worker("-c", "1")
    eventually(lambda: trial.lines(run, "hook:after"), 40, "the hook after it")
    time.sleep(8)
    assert trial.count("hook:on_success") == {run: 2}
    assert trial.count("hook:after") == {run: 1}
    assert {line["state"] for line in trial.lines(run, "hook:on_success")} == {"succeeded"}


def test_a_hook_longer_than_the_lease_is_called_once(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(hooks=True, lease=3, env={"TRIAL_HOOK_SECONDS": "5"})
    trial.worker("-c", "2")
    trial.beat()
    run = trial.run("work")
    eventually(lambda: trial.lines(run, "hook:after"), 40, "the last hook")
    time.sleep(6)
    assert trial.count("hook:on_success") == {run: 1}
    assert trial.count("hook:after") == {run: 1}


def test_a_hook_that_kills_its_process_each_time_is_given_up(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(hooks=True, lease=1, env={"TRIAL_POISON": "on_success"})
    trial.worker("-c", "2")
    trial.beat()
    run = trial.run("work")
    eventually(lambda: "given up" in (trial.record(run).hook_error or ""), 90, "the end of patience")
    assert trial.count("hook:on_success") == {run: 5}
    assert trial.record(run).state is State.SUCCEEDED


def test_hooks_of_a_job_that_the_worker_does_not_know_wait_for_one_that_does(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(hooks=True, lease=2)
    old = trial.worker("-c", "1", TRIAL_UNKNOWN="1")
    trial.beat()
    run, _ = trial.claim("nightly")
    trial.store.end(run, 0, Outcome(state=State.MISSED, reason=Reason.BROKER), Retention())
    eventually(lambda: "this worker knows no such job" in old.output, 20, "the refusal")
    assert trial.lines(run) == []
    old.terminate()
    trial.worker("-c", "1")
    # The scheduler sends it again after a minute; here it is not waited for.
    trial.client.send_task(TASK_OF_HOOKS, args=[f"{run}:0", "nightly"])
    eventually(lambda: trial.count("hook:on_missed") == {run: 1}, 15, "the hook")
