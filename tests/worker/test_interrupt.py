"""Interrupting runs: from the command line, whatever the worker is doing, and what it says when it cannot be done."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from celery_legion.run import State
from tests.servers.patience import patient
from tests.servers.polling import eventually
from tests.servers.processes import Process
from tests.worker.survivors import descendants, parent, survivors
from tests.worker.trial import Trial

pytestmark = pytest.mark.e2e

ENDLESS = {"endless": {"line": "sleep 100 & wait"}}


def finished(command: Process, seconds: float = 60) -> tuple[int, str]:
    """Return a command's exit code and what it wrote."""
    return command.wait(seconds), command.output


def interrupt(trial: Trial, *args: str) -> tuple[int, str]:
    return finished(trial.legion("interrupt", *args))


def commanded(trial: Trial) -> str:
    run = trial.command("endless")
    eventually(lambda: trial.record(run).pid, 20, "the command's process id")
    return run


def test_a_callable_in_prefork_gets_sigterm(trial: Trial) -> None:
    trial.worker("-c", "1")
    run = trial.run("work", {"seconds": 60})
    trial.started(run)
    code, text = interrupt(trial, run)
    assert code == 0, text
    assert f"run {run} of job-1 is asked to end on w0@trial; waiting" in text
    assert f"run {run} of job-1 ended: interrupted (terminated)" in text
    assert trial.ended(trial.run("work"), 20).state is State.SUCCEEDED


def test_one_that_does_not_listen_is_killed_after_the_grace(trial: Trial) -> None:
    trial.worker("-c", "1")
    run = trial.run("stubborn", job="nightly")
    trial.started(run)
    begun = time.monotonic()
    code, _ = interrupt(trial, run, "--grace", "2s")
    assert code == 0
    assert "nightly" in trial.locked()
    eventually(lambda: trial.lines(run, "unmoved"), 5, "the first signal")
    assert trial.ended(trial.run("work"), 20).state is State.SUCCEEDED
    assert time.monotonic() - begun < patient(15)
    eventually(lambda: "nightly" not in trial.locked(), 10, "the lock")
    last = trial.lines(run, "unmoved")
    time.sleep(1)
    assert trial.lines(run, "unmoved") == last


def test_signal_and_grace_reach_a_commands_processes(new_trial: Callable[..., Trial]) -> None:
    line = "trap 'echo told; exit 9' INT; trap '' TERM; sleep 100 & while :; do wait; done"
    trial = new_trial(commands={"endless": {"line": line}})
    trial.worker("-c", "1")
    run = commanded(trial)
    time.sleep(0.3)
    code, text = interrupt(trial, run, "--signal", "INT", "--grace", "30s")
    assert code == 0, text
    end = trial.ended(run)
    assert (end.state, end.exit_code, end.output) == (State.INTERRUPTED, 9, "told\n")
    assert survivors(run) == []


def test_the_worker_is_stopped_for_20_seconds(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(commands=ENDLESS)
    worker = trial.worker("-c", "1")
    run = commanded(trial)
    worker.stop()
    asking = trial.legion("interrupt", run, "--wait", "40s", "--json")
    time.sleep(20)
    assert asking.alive
    assert trial.record(run).state is State.RUNNING
    assert survivors(run)
    worker.cont()
    code, text = finished(asking)
    [result] = json.loads(text)
    assert (code, result["verdict"], result["run"]["state"]) == (0, "ended", "interrupted")
    assert survivors(run) == []


def test_whoever_does_not_wait_is_told_so_and_it_arrives_all_the_same(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(commands=ENDLESS)
    worker = trial.worker("-c", "1")
    run = commanded(trial)
    worker.stop()
    code, text = interrupt(trial, run, "--wait", "0s")
    assert code == 7
    assert f"run {run} of endless is asked to end, and w0@trial has not ended it yet: running" in text
    worker.cont()
    assert trial.ended(run).state is State.INTERRUPTED


def test_in_solo_a_command_ends_within_the_renewal_interval(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(commands=ENDLESS, lease=9)
    trial.worker("-P", "solo")
    run = commanded(trial)
    begun = time.monotonic()
    code, text = interrupt(trial, run)
    assert code == 0, text
    assert time.monotonic() - begun < patient(9 / 3 + 3)


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_a_callable_in_threads_or_solo_is_refused_clearly_and_goes_on(
    new_trial: Callable[..., Trial], pool: str
) -> None:
    trial = new_trial(lease=6)
    trial.worker("-P", pool, "-c", "1")
    run = trial.run("work", {"seconds": 8})
    trial.started(run)
    code, text = interrupt(trial, run)
    assert code == 6, text
    where = {"threads": "thread", "solo": "solo"}[pool]
    assert f"goes on: a callable in a {where} pool cannot be terminated" in text
    assert trial.ended(run).state is State.SUCCEEDED


def test_in_gevent_a_callable_ends(trial: Trial) -> None:
    trial.worker("-P", "gevent", "-c", "5")
    run = trial.run("work", {"seconds": 60})
    trial.started(run)
    assert interrupt(trial, run)[0] == 0
    assert trial.ended(run).reason == "terminated"


def test_what_waits_in_a_queue_ends_at_once_and_never_runs(trial: Trial) -> None:
    run, headers = trial.claim("nightly")
    trial.send("work", run, headers)
    trial.store.sent([run])
    code, text = interrupt(trial, "nightly")
    assert (code, trial.record(run).reason) == (0, "revoked"), text
    assert trial.locked() == set()
    worker = trial.worker("-c", "1")
    eventually(lambda: "a copy is dropped" in worker.output, 10, "the message")
    assert trial.lines(run) == []


def test_what_waits_for_its_retry_ends_at_once(trial: Trial) -> None:
    worker = trial.worker("-c", "1")
    run = trial.run("again", {"countdown": 8}, job="nightly")
    eventually(lambda: trial.record(run).state is State.RETRYING, 10, "the parking")
    code, text = interrupt(trial, run)
    assert (code, trial.record(run).state) == (0, State.INTERRUPTED), text
    eventually(lambda: "a copy is dropped" in worker.output, 20, "the retry's message")
    assert len(trial.lines(run, "start")) == 1


def test_by_job_and_by_process(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(commands=ENDLESS)
    trial.worker("-c", "2")
    first = commanded(trial)
    code, text = interrupt(trial, "endless")
    assert (code, trial.ended(first).state) == (0, State.INTERRUPTED), text
    second = commanded(trial)
    code, text = interrupt(trial, str(trial.record(second).pid))
    assert (code, trial.ended(second).state) == (0, State.INTERRUPTED), text
    third = trial.run("work", {"seconds": 60})
    trial.started(third)
    code, text = interrupt(trial, str(trial.lines(third)[0]["pid"]))
    assert (code, trial.ended(third).state) == (0, State.INTERRUPTED), text


def test_what_is_over_or_unknown_is_told_apart(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(commands=ENDLESS)
    trial.worker("-c", "1")
    run = trial.run("work", job="nightly")
    trial.ended(run)
    code, text = interrupt(trial, run)
    assert (code, text) == (5, f"run {run} of nightly is not running: succeeded\n")
    assert interrupt(trial, "nightly")[0] == 5
    code, text = interrupt(trial, "endles")
    assert code == 4
    assert "no run, job or process is called 'endles' (did you mean 'endless'?)" in text
    code, text = interrupt(trial, "endless")
    assert code == 4
    assert "job 'endless' has not run yet" in text
    for wrong in (("--signal", "NOPE"), ("--grace", "soon"), ("--wait", "never")):
        code, text = interrupt(trial, run, *wrong)
        assert (code, len(text.splitlines())) == (2, 1), text


def test_what_a_task_prints_and_logs_is_captured_on_request(trial: Trial) -> None:
    trial.worker("-P", "threads", "-c", "2")
    runs: list[Any] = [trial.run("talk", {"text": "one"}, job="talkative"), trial.run("talk", {"text": "two"})]
    captured, plain = (trial.ended(run) for run in runs)
    assert (captured.output or "").splitlines() == [
        "printed one",
        "written one",
        "WARNING: logged one",
        "INFO: told one",
    ]
    assert plain.output is None
    eventually(lambda: all(word in trial.logs() for word in ("printed two", "printed one", "told one")), 10, "the log")


def test_flowers_terminate_of_a_callable_in_threads_is_an_error_and_it_goes_on(trial: Trial) -> None:
    worker = trial.worker("-P", "threads", "-c", "1")
    run = trial.run("work", {"seconds": 3})
    trial.started(run)
    trial.client.control.revoke(run, terminate=True, signal=signal.SIGKILL)
    eventually(lambda: f"Run {run} cannot be terminated" in worker.output, 10, "the error")
    assert "Traceback" not in worker.output
    assert trial.ended(run).state is State.SUCCEEDED


def test_a_process_that_has_gone_on_to_another_run_is_not_killed(trial: Trial) -> None:
    trial.worker("-c", "1")
    first = trial.run("soft_eater", {"seconds": 1})
    trial.started(first)
    trial.client.control.revoke(first, terminate=True, signal="SIGUSR1")
    eventually(lambda: trial.lines(first, "unmoved"), 10, "the signal")
    second = trial.run("work", {"seconds": 9})
    trial.started(second)
    assert trial.lines(second)[0]["pid"] == trial.lines(first)[0]["pid"]
    assert trial.ended(second).state is State.SUCCEEDED


@pytest.mark.parametrize("how", ["terminate", "interrupt"])
@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_the_lock_is_kept_until_a_terminated_callable_has_tidied_up(trial: Trial, pool: str, how: str) -> None:
    trial.worker("-P", pool, "-c", "2")
    run = trial.run("tidy", {"seconds": 8 if pool == "gevent" else 3}, job="nightly")
    trial.started(run)
    if how == "terminate":
        trial.client.control.revoke(run, terminate=True)
    else:
        trial.legion("interrupt", run, "--grace", "4s")
    eventually(lambda: trial.lines(run, "told"), 10, "the signal")
    free_at = eventually(lambda: "nightly" not in trial.locked() and time.time(), 20, "the lock")
    assert free_at >= trial.lines(run, "tidied")[0]["at"]
    assert (trial.ended(run).state, trial.ended(run).reason) == (State.INTERRUPTED, "terminated")


def test_flowers_terminate_kills_a_callable_that_does_not_listen(trial: Trial) -> None:
    trial.worker("-c", "1")
    run = trial.run("stubborn", job="nightly")
    trial.started(run)
    trial.client.control.revoke(run, terminate=True)
    eventually(lambda: "nightly" not in trial.locked(), 20, "the lock")
    last = trial.lines(run, "unmoved")
    time.sleep(1)
    assert trial.lines(run, "unmoved") == last


def test_a_pool_process_that_is_stuck_does_not_keep_its_command(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(commands=ENDLESS)
    worker = trial.worker("-c", "1")
    run = commanded(trial)
    child = parent(parent(trial.record(run).pid or 0))
    assert child in descendants(worker.pid)
    os.kill(child, signal.SIGSTOP)
    trial.legion("interrupt", run, "--grace", "1s", "--wait", "0s")
    eventually(lambda: not survivors(run), 20, "the command's end")
    assert trial.record(run).state is State.RUNNING
    os.kill(child, signal.SIGCONT)
    assert trial.ended(run).state is State.INTERRUPTED


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_command_is_ended_that_was_terminated_before_it_was_launched(
    new_trial: Callable[..., Trial], pool: str
) -> None:
    slow = {"TRIAL_HOOK_SECONDS": "2", "TRIAL_SLOW_HOOKS": "before"}
    trial = new_trial(commands=ENDLESS, hooks=True, env=slow)
    trial.worker("-P", pool, "-c", "1")
    run = trial.command("endless")
    eventually(lambda: trial.lines(run, "hook:before"), 10, "the hook before")
    trial.client.control.revoke(run, terminate=True)
    end = trial.ended(run)
    assert (end.state, end.reason) == (State.INTERRUPTED, "terminated")
    eventually(lambda: not survivors(run) and "endless" not in trial.locked(), 12, "the end of all")


def test_a_process_of_several_runs_is_refused_with_their_names(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(lease=6)
    worker = trial.worker("-P", "threads", "-c", "2")
    runs = [trial.run("work", {"seconds": 6}) for _ in range(2)]
    for run in runs:
        trial.started(run)
    eventually(lambda: all(trial.record(run).pid for run in runs), 10, "the process ids")
    code, text = interrupt(trial, str(worker.pid))
    assert code == 4
    assert all(run in text for run in runs)
    trial.all_ended(runs, State.SUCCEEDED, 15)


def test_in_a_full_gevent_pool_an_interrupt_arrives_and_who_waits_runs(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(lease=6)
    trial.worker("-P", "gevent", "-c", "1")
    run = trial.run("work", {"seconds": 30}, job="nightly")
    trial.started(run)
    waiting = trial.run("work")
    begun = time.monotonic()
    code, text = interrupt(trial, run, "--grace", "60s")
    assert (code, trial.record(run).reason) == (0, "terminated"), text
    assert time.monotonic() - begun < patient(15)
    eventually(lambda: "nightly" not in trial.locked(), 5, "the lock, long before the grace is over")
    assert trial.ended(waiting).state is State.SUCCEEDED


def test_in_gevent_a_run_that_is_terminated_before_its_code_starts_ends(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(lease=6)
    trial.worker("-P", "gevent", "-c", "1")
    first = trial.run("work", {"seconds": 4})
    trial.started(first)
    waiting = trial.run("work", {"seconds": 20}, job="nightly")
    eventually(lambda: trial.record(waiting).state is State.RUNNING, 10, "the begin")
    trial.client.control.revoke(waiting, terminate=True)
    end = trial.ended(waiting, 20)
    assert (end.state, end.reason) == (State.INTERRUPTED, "terminated")
    assert trial.lines(waiting, "end") == []
    eventually(lambda: "nightly" not in trial.locked(), 12, "the lock")
