"""Celery's signals and callbacks, and the one end that each becomes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo
from celery._state import _task_stack
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery.worker import state
from celery.worker.request import Request

from celery_legion.run import State
from celery_legion.worker.acts import End
from celery_legion.worker.backlog import Backlog
from tests.worker.doubles import FIRE, GO, Bench


@contextmanager
def executing(bench: Bench, **fields: Any) -> Iterator[Any]:
    """Execute a begun run, as far as Celery's stacks are concerned."""
    context = bench.context_of(**fields)
    _task_stack.push(bench.task)
    bench.task.request_stack.push(context)
    try:
        yield context
    finally:
        bench.task.request_stack.pop()
        _task_stack.pop()


def in_main(bench: Bench) -> Backlog:
    bench.recorder.backlog = Backlog()
    bench.recorder.begun = bench.begun
    return bench.recorder.backlog


def deliver(bench: Bench) -> None:
    assert bench.recorder.backlog is not None
    bench.recorder.backlog.deliver(bench.context.store, bench.context.store_options.retention, everything=True)


def einfo(error: BaseException) -> ExceptionInfo:
    try:
        raise error
    except BaseException:
        return ExceptionInfo()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SUCCESS", "done", (State.SUCCEEDED, None, None)),
        ("FAILURE", ValueError("no luck"), (State.FAILED, None, "ValueError: no luck")),
        (
            "FAILURE",
            SoftTimeLimitExceeded(),
            (State.FAILED, "time_limit", "SoftTimeLimitExceeded: SoftTimeLimitExceeded()"),
        ),
        ("IGNORED", Ignore(), (State.SUCCEEDED, "ignored", None)),
        ("REJECTED", Reject("no", requeue=False), (State.FAILED, "rejected", "Reject: ('no', False)")),
    ],
)
def test_the_end_of_a_task_is_the_end_of_its_run(
    name: str, value: Any, expected: tuple[State, str | None, str | None]
) -> None:
    bench = Bench(GO)
    with executing(bench):
        bench.recorder.on_prerun(bench.task)
        bench.clock.seconds += 5
        bench.recorder.on_postrun(bench.task, name, value)
    [(run_id, token, outcome)] = bench.store.ended
    assert (run_id, token) == ("run-1", 7)
    assert (outcome.state, outcome.reason, outcome.error) == expected
    assert outcome.started_at == FIRE
    assert outcome.ended_at == FIRE + timedelta(seconds=5)
    assert outcome.dying == timedelta(0)


@pytest.mark.parametrize("name", ["RETRY", None])
def test_a_retry_or_an_exit_in_a_pool_process_leaves_the_run_open(name: str | None) -> None:
    bench = Bench(GO)
    with executing(bench):
        bench.recorder.on_postrun(bench.task, name, None)
    assert bench.store.ended == []
    assert bench.store.parked == []


@pytest.mark.parametrize(
    ("code", "error"), [(0, "SystemExit: 0"), ("no way on", "SystemExit: no way on"), (2, "SystemExit: 2")]
)
def test_an_exit_of_the_tasks_own_in_a_pool_process_is_a_failure_that_says_so(code: object, error: str) -> None:
    bench = Bench(GO)
    exit_with(bench, code)
    [(_, _, outcome)] = bench.store.ended
    assert (outcome.state, outcome.reason, outcome.error) == (State.FAILED, None, error)


def exit_with(bench: Bench, code: object, stored: str | None = None) -> None:
    """End a task's execution by an exit, with the *stored* state that Celery says if it has looked one up."""
    with executing(bench), suppress(SystemExit):
        try:
            raise SystemExit(code)
        finally:
            bench.recorder.on_postrun(bench.task, stored, None)


@pytest.mark.parametrize("stored", ["FAILURE", "SUCCESS", "STARTED", None])
def test_a_kill_is_judged_by_the_main_process_whatever_an_earlier_execution_has_stored(stored: str | None) -> None:
    bench = Bench(GO)
    # The exit of billiard's, by SIGTERM.
    exit_with(bench, -241, stored)
    assert bench.store.ended == []
    assert bench.store.left == [("run-1", 7)]


@pytest.mark.parametrize(
    "options", [{"acks_late": True, "reject_on_worker_lost": True}, {"retry_on_worker_lost": True}]
)
def test_an_exit_whose_message_comes_again_is_left_to_the_main_process(options: dict[str, bool]) -> None:
    bench = Bench(GO)
    for name, value in options.items():
        setattr(bench.task, name, value)
    exit_with(bench, 0)
    assert bench.store.ended == []


@pytest.mark.parametrize(
    ("when", "until"),
    [
        (30, FIRE + timedelta(seconds=30)),
        (0.5, FIRE + timedelta(seconds=0.5)),
        (None, FIRE),
        (datetime(2026, 3, 1, 4, tzinfo=UTC), datetime(2026, 3, 1, 4, tzinfo=UTC)),
        (datetime(2026, 3, 1, 4), datetime(2026, 3, 1, 4, tzinfo=UTC)),
        ("2026-03-01T04:00:00+00:00", datetime(2026, 3, 1, 4, tzinfo=UTC)),
        ("soon", FIRE),
    ],
)
def test_a_retry_parks_the_run_until_its_moment(when: Any, until: datetime) -> None:
    bench = Bench(GO)
    with executing(bench, retries=2) as context:
        bench.recorder.on_retry(bench.task, context, Retry(when=when), einfo(ValueError()))
    assert bench.store.parked == [("run-1", 7, until, 3)]


def test_a_task_cancelled_by_a_closing_worker_is_interrupted() -> None:
    bench = Bench(GO)
    in_main(bench)
    bench.recorder.on_retry(bench.task, bench.context_of(), None, None)
    deliver(bench)
    [(_, _, outcome)] = bench.store.ended
    assert (outcome.state, outcome.reason, outcome.dying) == (State.INTERRUPTED, "shutdown", timedelta(seconds=10))


def test_a_late_task_cancelled_by_a_closing_worker_waits_for_its_message() -> None:
    bench = Bench(GO)
    bench.task.acks_late = True
    in_main(bench)
    bench.recorder.on_retry(bench.task, bench.context_of(retries=1), None, None)
    deliver(bench)
    assert bench.store.parked == [("run-1", 7, FIRE, 1)]
    assert bench.store.ended == []


@pytest.mark.parametrize(
    ("terminated", "expired", "expected"),
    [
        (True, False, (State.INTERRUPTED, "terminated", timedelta(seconds=5))),
        (False, True, (State.EXPIRED, "expires", timedelta(0))),
        (False, False, (State.INTERRUPTED, "revoked", timedelta(0))),
    ],
)
def test_a_revoked_run_ends_by_how_it_was_revoked(terminated: bool, expired: bool, expected: Any) -> None:
    bench = Bench(GO)
    in_main(bench)
    bench.recorder.on_revoked(bench.task, bench.context_of(), terminated=terminated, signum=None, expired=expired)
    deliver(bench)
    [(_, token, outcome)] = bench.store.ended
    assert (outcome.state, outcome.reason, outcome.dying) == expected
    assert token == 7


def test_a_run_revoked_before_it_began_ends_without_a_token() -> None:
    bench = Bench(GO)
    in_main(bench)
    context = bench.context_of(legion=bench.request().request_dict["legion"])
    bench.recorder.on_revoked(bench.task, context, terminated=False, signum=None, expired=False)
    deliver(bench)
    assert bench.store.ended[0][:2] == ("run-1", 0)


def begin(bench: Bench, **headers: Any) -> Any:
    request = bench.request(**headers)
    state.task_reserved(request)
    assert request.revoked() is False
    return request


@pytest.mark.parametrize(
    ("error", "marked", "expected"),
    [
        (WorkerLostError("gone"), True, (State.FAILED, "process_lost", "WorkerLostError: gone")),
        pytest.param(
            *(WorkerLostError("gone"), False, (State.SUCCEEDED, None, None)),
            marks=pytest.mark.skipif(
                not hasattr(Request, "_success_was_stored"), reason="Celery looks for a stored success since 5.7"
            ),
        ),
        (SystemExit(3), True, (State.FAILED, "process_lost", "SystemExit: 3")),
        (TimeLimitExceeded(5), True, (State.FAILED, "time_limit", "the hard time limit of 5 s was exceeded")),
        (ValueError("late"), False, (State.FAILED, None, "ValueError: late")),
    ],
)
def test_what_only_the_main_process_sees_is_recorded_there(error: BaseException, marked: bool, expected: Any) -> None:
    bench = Bench(GO)
    in_main(bench)
    request = begin(bench)
    if marked:
        bench.task.request_stack.push(request._context)
        bench.recorder.on_task_failure(bench.task, "run-1")
        bench.task.request_stack.pop()
    bench.recorder.failed(request, request.passage, einfo(error))
    deliver(bench)
    [(_, token, outcome)] = bench.store.ended
    assert token == 7
    assert (outcome.state, outcome.reason, outcome.error) == expected


@pytest.mark.parametrize("error", [Retry(), Ignore(), Reject()])
def test_what_the_pool_process_has_recorded_is_not_recorded_again(error: BaseException) -> None:
    bench = Bench(GO)
    in_main(bench)
    request = begin(bench)
    bench.recorder.failed(request, request.passage, einfo(error))
    deliver(bench)
    assert bench.store.ended == []


def test_a_lost_process_whose_message_returns_waits_for_it() -> None:
    bench = Bench(GO)
    in_main(bench)
    request = begin(bench, retries=1)
    request.passage.requeued = True
    bench.recorder.failed(request, request.passage, einfo(WorkerLostError("gone")))
    deliver(bench)
    assert bench.store.parked == [("run-1", 7, FIRE, 1)]
    assert bench.store.ended == []


def test_an_exit_in_a_pool_of_threads_fails_the_run_unless_its_cause_was_faster() -> None:
    bench = Bench(GO)
    in_main(bench)
    begin(bench)
    with executing(bench):
        try:
            raise SystemExit(3)
        except SystemExit:
            bench.recorder.on_postrun(bench.task, None, None)
    assert "run-1" not in bench.begun
    bench.recorder.on_revoked(bench.task, bench.context_of(), terminated=True, signum="TERM", expired=False)
    deliver(bench)
    assert {(outcome.reason, outcome.error) for _, _, outcome in bench.store.ended} == {
        ("terminated", None),
        (None, "SystemExit: 3"),
    }


def test_an_end_that_the_store_does_not_take_is_kept_and_changes_nothing() -> None:
    bench = Bench(GO)
    backlog = in_main(bench)
    bench.store.silent = True
    with executing(bench):
        bench.recorder.on_postrun(bench.task, "SUCCESS", None)
    bench.store.silent = False
    assert backlog.deliver(bench.context.store, bench.context.store_options.retention) == 0
    assert bench.store.ended[0][2].state is State.SUCCEEDED


def test_a_pool_process_hands_its_undelivered_end_to_the_main_process(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(GO)
    backlog = in_main(bench)
    monkeypatch.setattr(backlog, "pid", -1)
    bench.store.silent = True
    with executing(bench):
        bench.recorder.on_postrun(bench.task, "FAILURE", ValueError("x" * 5000))
    bench.store.silent = False
    assert backlog.deliver(bench.context.store, bench.context.store_options.retention) == 0
    [(run_id, token, outcome)] = bench.store.ended
    assert (run_id, token, outcome.state) == ("run-1", 7, State.FAILED)
    assert outcome.error is not None
    assert len(outcome.error) <= 1000


def test_tasks_of_another_app_and_tasks_without_a_run_are_left_alone() -> None:
    bench, other = Bench(GO), Bench(GO)
    with executing(other):
        bench.recorder.on_postrun(other.task, "SUCCESS", None)
    with executing(bench, legion=None):
        bench.recorder.on_prerun(bench.task)
        bench.recorder.on_postrun(bench.task, "SUCCESS", None)
        bench.recorder.on_revoked(bench.task, bench.task.request, terminated=True, signum=None, expired=False)
    assert bench.store.ended == []


def test_an_error_whose_text_cannot_be_made_is_still_recorded() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    bench = Bench(GO)
    with executing(bench):
        bench.recorder.on_postrun(bench.task, "FAILURE", MuteError())
    [(_, _, outcome)] = bench.store.ended
    assert isinstance(End("x", 1, outcome), End)
    assert outcome.error == "MuteError: <its text cannot be made>"


def test_an_end_that_is_being_written_when_its_greenlet_is_killed_is_written_by_the_main_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Killed(BaseException):
        """What gevent raises in a greenlet."""

    def kill(*_: Any) -> bool:
        raise Killed

    bench = Bench(GO)
    in_main(bench)
    with executing(bench):
        with monkeypatch.context() as patched:
            patched.setattr(bench.store, "end", kill)
            with pytest.raises(Killed):
                bench.recorder.on_postrun(task=bench.task, state="SUCCESS", retval=None)
        assert bench.store.ended == []
    deliver(bench)

    assert [outcome.state for _, _, outcome in bench.store.ended] == [State.SUCCEEDED]
