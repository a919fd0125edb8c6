"""Verdicts: what an execution of a task has come to, by what it raised and what Celery does about it."""

from __future__ import annotations

from typing import Any

from celery.app.task import Task
from celery.exceptions import SoftTimeLimitExceeded

from celery_legion.errors import CommandTimeoutError, RunInterruptedError
from celery_legion.run import Reason, State
from celery_legion.worker.current import raw_header, retries_of


def failure(error: Any) -> tuple[State, Reason | None]:
    """Return how a run has ended whose task raised *error*."""
    if isinstance(error, RunInterruptedError):
        return State.INTERRUPTED, Reason.TERMINATED
    limit = isinstance(error, SoftTimeLimitExceeded | CommandTimeoutError)
    return State.FAILED, Reason.TIME_LIMIT if limit else None


def is_own_exit(error: BaseException | None) -> bool:
    """Whether a task has called ``sys.exit``. The pool's own exits have negative codes."""
    return isinstance(error, SystemExit) and not (isinstance(error.code, int) and error.code < 0)


def returns_when_lost(task: Any) -> bool:
    """Whether Celery delivers or sends a task's message again when its process is lost."""
    rejects: bool = task.acks_late and task.reject_on_worker_lost
    return rejects or bool(getattr(task, "retry_on_worker_lost", False))


def retry_number(request: Any) -> int:
    """Return which retry of its run the execution of *request* is."""
    return retries_of(raw_header(vars(request)), request.retries)


def was_replaced(error: Any) -> bool:
    """Whether an ``Ignore`` came out of ``Task.replace``: it does not say so itself, its traceback does."""
    trace = getattr(error, "__traceback__", None)
    while trace is not None:
        if trace.tb_frame.f_code is Task.replace.__code__:
            return True
        trace = trace.tb_next
    return False
