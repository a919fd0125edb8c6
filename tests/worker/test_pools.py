"""Runs on real workers of each kind: every ending has its record, every retry its attempt."""

from __future__ import annotations

from collections import Counter

import pytest

from celery_legion.run import State
from tests.servers.polling import eventually
from tests.worker.trial import Trial

pytestmark = pytest.mark.e2e

UNDER_WAY = 3


def retry_at_once(trial: Trial, runs: int) -> None:
    """Keep few runs under way, so that slots are free: a retry's message then overtakes the end of its own attempt.

    In one burst the retries stand behind all others in the queue, and nothing overtakes anything.
    """
    ids: list[str] = []
    under_way: set[str] = set()
    for _ in range(runs):
        run = trial.run("again", {"times": 1})
        ids.append(run)
        under_way.add(run)
        eventually(lambda: len(trial.still_open(under_way)) < UNDER_WAY, 20, "the end of a run")
    trial.all_ended(ids, State.SUCCEEDED, 20)
    assert {trial.record(run).attempt for run in ids} == {2}
    assert trial.count("start") == dict.fromkeys(ids, 2)
    assert trial.count("end") == dict.fromkeys(ids, 1)
    assert trial.locked() == set()


def test_two_prefork_workers_run_all_of_two_hundred_immediate_retries(trial: Trial) -> None:
    for _ in range(2):
        trial.worker("-c", "2")
    retry_at_once(trial, 200)
    assert {record.worker for record in map(trial.record, trial.count("start"))} == {"w0@trial", "w1@trial"}


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_pools_in_the_main_process_run_all_of_a_hundred_immediate_retries(trial: Trial, pool: str) -> None:
    workers = [trial.worker("-P", pool, "-c", "2") for _ in range(2)]
    retry_at_once(trial, 100)
    ok, bad = trial.run("work"), trial.run("fail")
    assert trial.ended(ok).state is State.SUCCEEDED
    assert trial.ended(bad).error == "ValueError: no luck"
    for worker in workers:
        assert worker.terminate(20) == 0
    assert trial.store.workers() == []


def test_every_ending_of_a_prefork_run_is_recorded_once(trial: Trial) -> None:
    trial.worker("-c", "2")
    outcomes = {
        "work": (State.SUCCEEDED, None, None, 1),
        "fail": (State.FAILED, None, "ValueError: no luck", 1),
        "ignore": (State.SUCCEEDED, "ignored", None, 1),
        "replaced": (State.SUCCEEDED, None, None, 2),
        "leave": (State.FAILED, None, "SystemExit: 3", 1),
        "soft": (State.FAILED, "time_limit", "SoftTimeLimitExceeded: SoftTimeLimitExceeded()", 1),
        "too_long": (State.FAILED, "time_limit", "the hard time limit of 1 s was exceeded", 1),
        "reject": (State.FAILED, "rejected", "Reject: ('no', False)", 1),
    }
    runs = {task: trial.run(task) for task in outcomes}
    ended = {task: trial.ended(run) for task, run in runs.items()}
    found = {task: (end.state, end.reason, end.error, end.attempt) for task, end in ended.items()}
    assert found == outcomes
    assert all(end.pid and end.started_at and end.ended_at and end.worker == "w0@trial" for end in ended.values())
    # The processes of a hard limit may not be dead yet when it is recorded: their lock outlives it, for a while.
    eventually(lambda: trial.locked() <= {trial.record(runs["too_long"]).job}, 2, "the locks")
    eventually(lambda: not trial.locked(), 8, "the dying lock")
    assert trial.count("start") == {**dict.fromkeys(runs.values(), 1), runs["replaced"]: 2}


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_a_record_names_the_process_that_executes_the_run(trial: Trial, pool: str) -> None:
    worker = trial.worker("-P", pool, "-c", "1")
    run = trial.run("too_long" if pool == "gevent" else "work", {"seconds": 3})
    known = eventually(lambda: trial.record(run).pid, 15, "the process id")
    assert known == trial.lines(run, "start")[0]["pid"]
    assert (known == worker.pid) is (pool != "prefork")
    assert trial.ended(run).pid == known


def test_a_killed_pool_process_fails_the_run_and_frees_its_lock(trial: Trial) -> None:
    trial.worker("-c", "1")
    run = trial.run("suicide", job="nightly")
    end = trial.ended(run)
    assert (end.state, end.reason) == (State.FAILED, "process_lost")
    assert "SIGKILL" in str(end.error)
    assert trial.locked() == set()
    assert trial.ended(trial.run("work", job="nightly")).state is State.SUCCEEDED


def test_a_message_rejected_to_be_delivered_again_begins_again(trial: Trial) -> None:
    trial.worker("-c", "1")
    run = trial.run("reject", {"requeue": True})
    end = trial.ended(run)
    assert (end.state, end.attempt) == (State.SUCCEEDED, 2)


def test_copies_of_one_message_are_executed_once(trial: Trial) -> None:
    for _ in range(2):
        trial.worker("-c", "2")
    runs = [trial.run("work", {"seconds": 0.5}, copies=5)] + [trial.run("work", copies=5) for _ in range(20)]
    trial.all_ended(runs, State.SUCCEEDED, 15)
    eventually(lambda: trial.logs().count("a copy is dropped") == 4 * len(runs), 10, "the copies")
    assert trial.count("start") == Counter(dict.fromkeys(runs, 1))


def test_tasks_without_a_header_never_touch_the_store(trial: Trial) -> None:
    trial.worker("-c", "1")
    before = trial.store.runs(None, 10)
    results = [trial.client.send_task("tests.worker.app.plain") for _ in range(5)]
    assert [result.get(timeout=10) for result in results] == [True] * 5
    assert trial.store.runs(None, 10) == before == []
    assert len(trial.lines(event="plain")) == 5


def test_a_header_that_cannot_be_read_is_not_executed(trial: Trial) -> None:
    worker = trial.worker("-c", "1")
    _, headers = trial.claim()
    headers["legion"]["v"] = 99
    trial.send("work", "strange", headers)
    good = trial.run("work")
    assert trial.ended(good).state is State.SUCCEEDED
    assert "version 99 is unknown" in worker.output
    assert trial.lines(event="start")[0]["id"] == good
    assert len(trial.lines(event="start")) == 1


def test_a_begun_run_excludes_and_a_waiting_one_gives_way(trial: Trial) -> None:
    trial.worker("-c", "2")
    queued, headers = trial.claim("nightly")
    trial.store.release("nightly")
    first = trial.run("work", {"seconds": 1}, job="nightly")
    trial.started(first)
    assert trial.record(queued).reason is None
    trial.send("work", queued, headers)
    assert trial.ended(queued).reason == "superseded"
    assert trial.ended(first).state is State.SUCCEEDED
    assert trial.count("start") == {first: 1}
