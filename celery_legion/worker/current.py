"""The run that is being executed here, read from the task's own request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from celery._state import _task_stack

from celery_legion.clock import from_ms, to_ms
from celery_legion.header import KEY, Header, HeaderError
from celery_legion.run import Kind
from celery_legion.stores.base import Answer

TOKEN, ATTEMPT, PREVIOUS = "token", "attempt", "previous"
"""What a begun run's header carries on its way to the pool, besides what was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentRun:
    """A begun run, as the code that it runs sees it.

    ``token`` is the fencing token: it only grows from one begun attempt to the next, of whichever run.
    ``previous_success`` is the fire time of the job's last succeeded run before this one.
    """

    id: str
    job: str
    fire_time: datetime
    kind: Kind
    attempt: int
    token: int
    previous_success: datetime | None


def current_run() -> CurrentRun | None:
    """Return the run that is executed in this thread, or None outside of one."""
    for task in reversed(_task_stack.stack):
        run = read_run(task.request)
        if run is not None:
            return run
    return None


def raw_header(fields: Mapping[str, Any]) -> object:
    """Return what a message's or request's *fields* hold as legion's header, None if nothing.

    Messages of Celery's first protocol keep their headers one level down.
    """
    raw = fields.get(KEY)
    if raw is None:
        headers = fields.get("headers")
        if isinstance(headers, Mapping):
            return headers.get(KEY)
    return raw


def begun_header(raw: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    """Return the header to hand to the pool for a run that *answer* let begin."""
    previous = answer.previous_success
    return {
        **raw,
        TOKEN: answer.token,
        ATTEMPT: answer.attempt,
        PREVIOUS: None if previous is None else to_ms(previous),
    }


def read_token(raw: object) -> int:
    """Return the token of a header that was handed to the pool, 0 for one that has not begun."""
    token = raw.get(TOKEN) if isinstance(raw, Mapping) else None
    return token if isinstance(token, int) and not isinstance(token, bool) and token > 0 else 0


def read_run(request: Any) -> CurrentRun | None:
    """Return the begun run of a task's request (Celery's ``Context``), None if it is none."""
    raw = getattr(request, KEY, None)
    token = read_token(raw)
    if not token or not isinstance(raw, Mapping):
        return None
    try:
        header = Header.load(raw)
    except HeaderError:
        return None
    attempt, previous = raw.get(ATTEMPT), raw.get(PREVIOUS)
    return CurrentRun(
        id=str(request.id),
        job=header.job,
        fire_time=header.fire_time,
        kind=header.kind,
        attempt=attempt if isinstance(attempt, int) else 1,
        token=token,
        previous_success=from_ms(previous) if isinstance(previous, int) else None,
    )
