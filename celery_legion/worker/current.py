"""The run that is being executed here, or whose hooks are, read from the task's own request or given by the hooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from celery._state import _task_stack

from celery_legion.clock import from_ms, isoformat, to_ms
from celery_legion.header import KEY, Header, HeaderError
from celery_legion.run import Kind, Record, State
from celery_legion.stores.base import Answer

TOKEN, ATTEMPT, PREVIOUS = "token", "attempt", "previous"
"""What a begun run's header carries on its way to the pool, besides what was sent."""

PAST = "past"
"""In the header of what a task was replaced by: how many retries of the run lie before its message's own count."""

MOST_RETRIES = 10**9
"""What a message says beyond this is none of Celery's counting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentRun:
    """A run, as the code that it runs and its hooks see it.

    ``token`` is the fencing token: it only grows from one begun attempt to the next, of whichever run (0 = it never
    began). ``previous_success`` is the fire time of the job's last succeeded run before this one. What follows it
    is known to the hooks of an ending alone: how the run ended, and the tail of its output. For fires that became no
    run there are ``count`` of them, up to ``last_fire_time``, and ``id`` names the skip or miss. ``prefix`` is the key
    prefix that the store knows it under, as far as its message says.
    """

    id: str
    job: str
    fire_time: datetime
    kind: Kind
    attempt: int
    token: int
    previous_success: datetime | None
    state: State = State.RUNNING
    reason: str | None = None
    exit_code: int | None = None
    error: str | None = None
    output: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    last_fire_time: datetime | None = None
    count: int = 1
    prefix: str | None = None

    @classmethod
    def of_record(cls, record: Record, name: str) -> CurrentRun:
        """Return the run of an ending's record; *name* is its id if it never had a run."""
        return cls(
            id=record.id or name,
            job=record.job,
            fire_time=record.fire_time,
            kind=record.kind,
            attempt=record.attempt,
            token=record.token,
            previous_success=record.previous_success,
            state=record.state,
            reason=record.reason,
            exit_code=record.exit_code,
            error=record.error,
            output=record.output,
            started_at=record.started_at,
            ended_at=record.ended_at,
            last_fire_time=record.last_fire_time,
            count=record.count,
        )

    def environment(self) -> dict[str, str]:
        """Return what a command sees of its run; moments are ISO 8601 in UTC, empty for none."""
        return {
            "LEGION_RUN_ID": self.id,
            "LEGION_JOB": self.job,
            "LEGION_FIRE_TIME": isoformat(self.fire_time) or "",
            "LEGION_PREVIOUS_SUCCESS": isoformat(self.previous_success) or "",
            "LEGION_KIND": self.kind.value,
            "LEGION_ATTEMPT": str(self.attempt),
            "LEGION_TOKEN": str(self.token),
        }


_hooked: ContextVar[CurrentRun | None] = ContextVar("legion_hooked_run", default=None)


@contextmanager
def hooks_of(run: CurrentRun) -> Iterator[None]:
    """Let ``current_run()`` return *run* while its hooks are called."""
    token = _hooked.set(run)
    try:
        yield
    finally:
        _hooked.reset(token)


_executed: ContextVar[tuple[CurrentRun, Any] | None] = ContextVar("legion_executed_run", default=None)


@dataclass(slots=True)
class Execution:
    """Lets a run be found in whatever carries the context of the thread that Celery executes it in.

    Celery's own books belong to that thread. A pool may run a task's code in another one, and a task its own.
    """

    token: Token[tuple[CurrentRun, Any] | None]

    @classmethod
    def begin(cls, run: CurrentRun, request: Any) -> Execution:
        """Begin with *run*, whose request in its task is *request*."""
        return cls(_executed.set((run, request)))

    def end(self) -> None:
        """End it."""
        try:
            _executed.reset(self.token)
        except ValueError:
            # The pool has moved to another context meanwhile.
            _executed.set(None)


def current_run() -> CurrentRun | None:
    """Return the run that is executed in this thread or context, or whose hooks are; None outside of one."""
    if (hooked := _hooked.get()) is not None:
        return hooked
    for task in reversed(_task_stack.stack):
        run = read_run(task.request)
        if run is not None:
            return run
    executed = _executed.get()
    return None if executed is None else executed[0]


def current_request(request: Any) -> Any:
    """Return the request of the current run, where the recorder looks; *request* is what its task takes for it."""
    executed, own = _executed.get(), read_run(request)
    return request if executed is None or (own is not None and own.id != executed[0].id) else executed[1]


def raw_header(fields: Mapping[str, Any], name: str = KEY) -> object:
    """Return what a message's or request's *fields* hold as a header of legion's, None if nothing.

    Messages of Celery's first protocol keep their headers one level down.
    """
    raw = fields.get(name)
    if raw is None:
        headers = fields.get("headers")
        if isinstance(headers, Mapping):
            return headers.get(name)
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


def counted(number: object) -> int:
    """Return a count that a message carries, 0 for what is none."""
    return number if type(number) is int and 0 <= number <= MOST_RETRIES else 0


def retries_of(raw: object, retries: object) -> int:
    """Return which retry of its run a message is, by its header and its own count."""
    past = raw.get(PAST) if isinstance(raw, Mapping) else None
    return counted(past) + counted(retries)


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
        prefix=header.prefix,
    )
