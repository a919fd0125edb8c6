"""What is renewed, what is conceded, and how acts survive the pipe and a silent store."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from celery.concurrency.base import BasePool
from celery.worker import state

from celery_legion.errors import StoreError, StoreUnavailableError
from celery_legion.run import Record, State
from celery_legion.stores.base import Kept, Outcome, Renewal
from celery_legion.worker import acts, requests
from celery_legion.worker.acts import LINE_LIMIT, Act, End, Leave, Paid, Park, dump, load
from celery_legion.worker.backlog import TRIES, Backlog
from celery_legion.worker.current import current_run
from celery_legion.worker.renewal import Renewer
from tests.servers.polling import eventually
from tests.worker.doubles import FIRE, GO, HEADER, Bench, record


@pytest.fixture(autouse=True)
def clean_books() -> Iterator[None]:
    state.reset_state()
    yield
    state.reset_state()


def renewer(bench: Bench) -> Renewer:
    made = Renewer(bench.context, Backlog(), bench.begun)
    made.consumer = bench.consumer
    bench.consumer.hub = None
    return made


def begin(bench: Bench, run_id: str) -> Any:
    request = bench.request(run_id)
    state.task_reserved(request)
    assert request.revoked() is False
    return request


def accept(request: Any) -> None:
    request.time_start = 1.0
    state.task_accepted(request)
    request.acknowledge()


def renewed(bench: Bench) -> dict[str, Renewal]:
    return {renewal.id: renewal for renewal in bench.store.renewed}


def test_begun_and_queued_runs_are_renewed_and_the_worker_is_registered() -> None:
    bench = Bench(GO)
    running, put = begin(bench, "running"), begin(bench, "put")
    queued, scheduled = bench.request("q"), bench.request("s")
    accept(running)
    state.task_reserved(queued)
    requests.schedule(scheduled)
    plain = bench.request("plain", header=None)
    state.task_reserved(plain)
    # A step of what a run was replaced by shows that run.
    step = bench.request("step", header=None, legion_part={"run": "replaced", "token": 7, "ttl": 1})
    state.task_reserved(step)
    renewer(bench).beat()
    assert renewed(bench) == {
        "replaced": Renewal(id="replaced", token=0, accepted=False),
        "running": Renewal(id="running", token=7, accepted=True, pid=os.getpid()),
        "put": Renewal(id="put", token=7, accepted=False),
        "q": Renewal(id="q", token=0, accepted=False),
        "s": Renewal(id="s", token=0, accepted=False),
    }
    [info] = bench.store.workers
    assert (info.name, info.queues) == ("w@test", ("celery",))
    assert put.time_start is None


def test_a_finished_run_is_not_renewed() -> None:
    bench = Bench(GO)
    done = begin(bench, "done")
    accept(done)
    state.task_ready(done)
    begin(bench, "forgotten by Celery")
    state.reset_state()
    renewer(bench).beat()
    assert renewed(bench) == {}
    assert "done" not in bench.begun


def test_a_run_acknowledged_late_is_never_accepted() -> None:
    bench = Bench(GO)
    bench.task.acks_late = True
    run = begin(bench, "run")
    accept(run)
    renewer(bench).beat()
    assert renewed(bench)["run"].accepted is False


class Pool:
    """A pool that can terminate what it executes, as prefork can."""

    is_green = True

    def __init__(self) -> None:
        self.terminated: list[tuple[int, int]] = []
        self.terminate_job = lambda pid, number: self.terminated.append((pid, number))


def lose(bench: Bench, pool: object, told: Record | None) -> Renewer:
    """Let a run's lease be lost to what the store tells of it."""
    run = begin(bench, "run")
    accept(run)
    run.worker_pid = 5
    bench.consumer.pool = pool
    bench.store.kept["run"] = Kept.LOST
    if told is not None:
        bench.store.records["run"] = told
    made = renewer(bench)
    made.interrupter._consumer = bench.consumer
    made.beat()
    return made


@pytest.mark.parametrize(
    "told", [record("run", State.LOST, token=7), record("run", State.RUNNING, token=8)], ids=["dead", "run again"]
)
def test_a_run_whose_place_another_may_have_taken_is_ended_once(told: Record, caplog: pytest.LogCaptureFixture) -> None:
    bench, pool = Bench(GO), Pool()

    made = lose(bench, pool, told)
    made.beat()

    assert pool.terminated == [(5, signal.SIGTERM)]
    assert caplog.text.count("another may run in its place: it is ended") == 1


def test_a_run_that_the_store_has_forgotten_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    bench, pool = Bench(GO), Pool()

    lose(bench, pool, None)

    assert pool.terminated == []
    assert "it goes on here" in caplog.text


def test_a_dead_run_of_a_job_that_may_overlap_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    bench, pool = Bench(GO), Pool()
    bench.header = replace(HEADER, limit=0)

    lose(bench, pool, record("run", State.LOST, token=7))

    assert pool.terminated == []
    assert "it goes on here" in caplog.text


def test_a_lost_lease_that_cannot_be_acted_on_is_logged_and_conceded(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(GO)
    made = lose(bench, BasePool(1), record("run", State.RUNNING, token=8))
    assert "The lease of run run was lost: it goes on here" in caplog.text
    bench.store.renewed.clear()
    state.reserved_requests.clear()
    made.beat()
    assert renewed(bench) == {}


def test_a_run_that_has_just_ended_is_no_lost_lease(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(GO)
    accept(begin(bench, "run"))
    bench.store.kept["run"] = Kept.LOST
    bench.store.records["run"] = record("run", State.SUCCEEDED, token=7)
    with caplog.at_level(logging.WARNING):
        renewer(bench).beat()
    assert caplog.text == ""


OUTCOME = Outcome(
    state=State.FAILED,
    reason="time_limit",
    started_at=FIRE,
    ended_at=FIRE + timedelta(milliseconds=1),
    pid=5,
    exit_code=3,
    error="ä",
    dying=timedelta(seconds=5),
)


@pytest.mark.parametrize(
    "act", [End("run", 7, OUTCOME), End("run", 0, Outcome(state=State.SUCCEEDED)), Park("run", 7, FIRE, 2)]
)
def test_an_act_survives_the_pipe(act: Act) -> None:
    assert load(dump(act)) == act


@pytest.mark.parametrize("limit", [LINE_LIMIT, 512])
def test_a_dump_never_exceeds_what_a_pipe_takes_at_once(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acts, "LINE_LIMIT", limit)
    long = "\U0001f680" * 1000
    act = End("run", 7, Outcome(state=State.FAILED, error=long, hook_error=long, output=long))
    for news in (act, Leave("run", 7, 3, long), Paid("debt", long)):
        assert len(dump(news)) <= limit
        assert load(dump(news)).run_id == news.run_id


@pytest.mark.parametrize("line", [b"{}", b"no json", b'{"id": 1}', b"[]"])
def test_what_is_no_act_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"no act|Expecting"):
        load(line)


def test_only_what_is_there_is_read_from_the_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, backlog, read = Bench(GO), Backlog(), os.read

    def read_as_eventlet(fd: int, size: int) -> bytes:
        try:
            return read(fd, size)
        except BlockingIOError:
            raise AssertionError("this would wait for ever") from None

    monkeypatch.setattr(os, "read", read_as_eventlet)
    for run in ("a", "b"):
        assert backlog.hand_over(End(run, 1, OUTCOME))
        assert backlog.deliver(bench.context.store, bench.context.store_options.retention) == 0
    assert [run for run, _, _ in bench.store.ended] == ["a", "b"]


def test_a_store_that_is_silent_until_the_end_is_not_said_to_answer(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(GO)
    bench.store.silent = True
    made = renewer(bench)
    with caplog.at_level(logging.INFO):
        made.start(bench.consumer)
        eventually(lambda: "Leases are not renewed for now" in caplog.text, what="the warning")
        made.stop(5.0)

    assert "answers again" not in caplog.text


def test_a_store_that_was_silent_is_asked_before_it_is_said_to_answer(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(GO)
    made = renewer(bench)
    with caplog.at_level(logging.INFO):
        bench.store.silent = True
        made.start(bench.consumer)
        eventually(lambda: "Leases are not renewed for now" in caplog.text, what="the warning")
        bench.store.silent = False
        eventually(lambda: "answers again" in caplog.text, what="the all-clear")
        made.stop(5.0)

    assert bench.store.workers


def test_a_silent_store_keeps_every_act_in_order() -> None:
    bench, backlog = Bench(GO), Backlog()
    bench.store.silent = True
    backlog.put(End("a", 1, OUTCOME))
    assert backlog.hand_over(End("b", 1, OUTCOME))
    with pytest.raises(StoreUnavailableError):
        backlog.deliver(bench.context.store, bench.context.store_options.retention)
    backlog.put(End("c", 1, OUTCOME))
    bench.store.silent = False
    assert backlog.deliver(bench.context.store, bench.context.store_options.retention) == 0
    assert sorted(run_id for run_id, _, _ in bench.store.ended) == ["a", "b", "c"]
    assert bench.store.ended[-1][0] == "c"


def test_an_act_for_later_waits_unless_everything_is_delivered() -> None:
    bench, backlog = Bench(GO), Backlog()
    backlog.put(End("a", 1, OUTCOME), after=timedelta(minutes=1))
    assert backlog.deliver(bench.context.store, bench.context.store_options.retention) == 1
    due = backlog.due_in()
    assert due is not None
    assert 50 < due <= 60
    assert backlog.deliver(bench.context.store, bench.context.store_options.retention, everything=True) == 0


def test_an_act_that_the_store_refuses_does_not_block_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench, backlog = Bench(GO), Backlog()

    def refuse(*_: Any) -> bool:
        raise StoreError("no")

    monkeypatch.setattr(bench.store, "park", refuse)
    backlog.put(Park("a", 1, FIRE, 1))
    backlog.put(End("b", 1, OUTCOME))
    for _ in range(TRIES):
        left = backlog.deliver(bench.context.store, bench.context.store_options.retention, everything=True)
    assert left == 0
    assert [run_id for run_id, _, _ in bench.store.ended] == ["b"]
    assert "The end of run a is not recorded" in caplog.text


def test_rubbish_in_the_pipe_is_logged_and_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    bench, backlog = Bench(GO), Backlog()
    os.write(backlog._write, b"rubbish\n")
    backlog.hand_over(End("a", 1, OUTCOME))
    assert backlog.deliver(bench.context.store, bench.context.store_options.retention) == 0
    assert [run_id for run_id, _, _ in bench.store.ended] == ["a"]
    assert "says nothing of a run" in caplog.text


def test_waiting_ends_when_something_is_put() -> None:
    backlog = Backlog()
    backlog.put(End("a", 1, OUTCOME))
    backlog.wait(30)


def test_outside_of_a_run_there_is_no_current_one() -> None:
    assert current_run() is None
