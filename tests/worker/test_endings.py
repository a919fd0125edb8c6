"""Revoked, terminated, shut down, killed: what becomes of a run, and of its message."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from celery_legion.run import State
from tests.servers.polling import eventually
from tests.worker.trial import QUICK_REDELIVERY, Trial

pytestmark = pytest.mark.e2e


def test_terminate_still_finds_a_run_after_four_of_its_copies(trial: Trial) -> None:
    worker = trial.worker("-c", "2")
    run, headers = trial.claim("nightly")
    trial.send("work", run, headers, {"seconds": 60})
    trial.started(run)
    for _ in range(4):
        trial.send("work", run, headers, {"seconds": 60})
    eventually(lambda: worker.output.count("received") == 5, 10, "the copies")
    trial.client.control.revoke(run, terminate=True, signal="SIGKILL")
    end = trial.ended(run)
    assert (end.state, end.reason) == (State.INTERRUPTED, "terminated")
    eventually(lambda: "nightly" not in trial.locked(), 8, "the dying lock")
    assert len(trial.lines(run)) == 1
    assert trial.ended(trial.run("work", job="nightly"), 20).state is State.SUCCEEDED


def test_a_run_revoked_or_expired_before_its_start_is_recorded(trial: Trial) -> None:
    trial.worker("-c", "1")
    blocker = trial.run("work", {"seconds": 2})
    trial.started(blocker)
    expired = trial.run("work", expires=datetime.now(UTC) + timedelta(seconds=1))
    revoked = trial.run("work")
    trial.client.control.revoke(revoked)
    assert (trial.ended(expired).state, trial.ended(expired).reason) == (State.EXPIRED, "expires")
    assert (trial.ended(revoked).state, trial.ended(revoked).reason) == (State.INTERRUPTED, "revoked")
    assert trial.locked() == set()
    assert trial.count("start") == {blocker: 1}


def test_a_run_whose_task_its_worker_does_not_know_ends_at_once(trial: Trial) -> None:
    trial.worker("-c", "1")
    run = trial.run("nobody_knows", job="nightly")
    end = trial.ended(run)
    assert (end.state, end.reason) == (State.FAILED, "unknown_task")
    assert "does not know task 'tests.worker.app.nobody_knows'" in str(end.error)
    assert trial.locked() == set()
    assert trial.ended(trial.run("work", job="nightly")).state is State.SUCCEEDED


def test_a_retry_revoked_while_it_is_parked_frees_the_lock(trial: Trial) -> None:
    trial.worker("-c", "1")
    run = trial.run("again", {"countdown": 2}, job="nightly")
    eventually(lambda: trial.record(run).state is State.RETRYING, 10, "the parking")
    assert trial.locked() == {"nightly"}
    trial.client.control.revoke(run)
    end = trial.ended(run)
    assert (end.state, end.reason) == (State.INTERRUPTED, "revoked")
    assert trial.locked() == set()


def test_a_message_with_expires_survives_a_warm_shutdown(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(prefetch=8)
    first = trial.worker("-c", "1")
    blocker = trial.run("work", {"seconds": 2})
    trial.started(blocker)
    expires = datetime.now(UTC) + timedelta(minutes=5)
    prefetched = [trial.run("work", expires=expires) for _ in range(3)]
    eventually(lambda: first.output.count("received") == 4, 10, "the prefetch")
    assert first.terminate(20) == 0
    assert trial.count("start") == {blocker: 1}
    assert trial.ended(blocker).state is State.SUCCEEDED
    trial.worker("-c", "1")
    trial.all_ended(prefetched, State.SUCCEEDED, 10)
    assert trial.count("start") == dict.fromkeys([blocker, *prefetched], 1)


def test_a_message_that_waits_goes_back_to_the_queue_at_a_warm_shutdown(trial: Trial) -> None:
    busy, idle = trial.worker("-c", "1"), trial.worker("-c", "1", queue="other")
    run, headers = trial.claim()
    trial.send("late", run, headers, {"seconds": 2})
    trial.started(run)
    trial.send("late", run, headers, {"seconds": 2}, queue="other")
    eventually(lambda: "received" in idle.output, 10, "the copy")
    assert idle.terminate(20) == 0
    assert "dropped" not in idle.output
    heir = trial.worker("-c", "1", queue="other")
    assert trial.ended(run).state is State.SUCCEEDED
    eventually(lambda: "a copy is dropped" in heir.output, 10, "the copy at the next worker")
    assert busy.terminate(20) == 0
    assert trial.count("start") == {run: 1}


def test_a_cold_shutdown_ends_an_early_acknowledged_run_and_hands_back_a_late_one(trial: Trial) -> None:
    worker = trial.worker("-c", "2")
    early, late = trial.run("work", {"seconds": 30}), trial.run("late", {"seconds": 30})
    trial.started(early)
    trial.started(late)
    worker.signal(signal.SIGQUIT)
    worker.wait()
    end = trial.ended(early)
    assert (end.state, end.reason) == (State.INTERRUPTED, "shutdown")
    assert not trial.record(late).state.terminal
    trial.worker("-c", "1")
    trial.started(late, 2)
    assert trial.record(late).attempt == 2
    eventually(lambda: [worker.name for worker in trial.store.workers()] == ["w1@trial"], 5, "the second worker alone")


def test_a_run_whose_worker_was_killed_is_begun_again_when_its_message_returns(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(lease=3, transport=QUICK_REDELIVERY)
    first = trial.worker("-c", "1")
    run = trial.run("late", {"seconds": 2}, job="nightly")
    trial.started(run)
    first.kill9()
    trial.worker("-c", "1")
    assert trial.locked() == {"nightly"}
    end = trial.ended(run, 25)
    assert (end.state, end.attempt) == (State.SUCCEEDED, 2)
    lines = [(line["event"], line["attempt"]) for line in trial.lines(run)]
    assert lines == [("start", 1), ("start", 2), ("end", 2)]


def test_a_run_longer_than_its_lease_keeps_its_lock(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(lease=1)
    trial.worker("-P", "solo")
    run = trial.run("work", {"seconds": 4}, job="nightly")
    trial.started(run)
    free_at = eventually(lambda: not trial.locked() and time.time(), 10, "the lock")
    assert trial.ended(run).state is State.SUCCEEDED
    assert free_at >= trial.lines(run, "end")[0]["at"]
    assert "lease of run" not in trial.logs()
