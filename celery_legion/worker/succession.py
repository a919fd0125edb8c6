"""Succession: what goes on with a run under further messages carries what belongs to it, however they come about.

A retry has the run's id and header, also where an instrumentation or the task itself gives it headers of its own. What
a task replaces itself by (``Task.replace``) takes the run over: the message that inherits its id carries its header,
and the steps of a chain, group or chord before it say for which run they work. The run ends where its heir does.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any

from billiard.einfo import ExceptionWithTraceback
from celery import signals
from celery._state import _task_stack
from celery.app.task import Task
from celery.exceptions import Ignore, Reject, Retry, Terminated

from celery_legion.clock import span_ms
from celery_legion.config import is_prefix
from celery_legion.context import Context
from celery_legion.errors import StoreError
from celery_legion.header import KEY, LONGEST_TTL
from celery_legion.run import Reason, State
from celery_legion.stores.base import Outcome, Renewal
from celery_legion.worker.acts import Act, End, Park, describe
from celery_legion.worker.current import PAST, CurrentRun, counted, raw_header, read_run, read_token

logger = logging.getLogger(__name__)

PART = "legion_part"
"""The header of a message that works for a run under an id of its own."""

HEIR = "legion_heir"
"""The mark on the request of a run that has an heir: the number of retries by which the heir asks for its begin."""

REPLACE = frozenset({Task.replace.__code__})
JOINING = REPLACE | {Task.add_to_chord.__code__}
CONTAINERS = {"celery.chain": ("tasks",), "celery.group": ("tasks",), "celery.chord": ("header", "body")}
"""Signatures that are no message themselves, and where they keep those that are."""


@dataclass(frozen=True, slots=True)
class Part:
    """For which run a message works under an id of its own, and for how long its lock is kept between two steps.

    ``prefix`` is the key prefix that the store knows the run under, None if its message did not say.
    """

    run_id: str
    token: int
    lock_ttl: timedelta
    prefix: str | None = None

    def dump(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        prefix = {} if self.prefix is None else {"prefix": self.prefix}
        return {"run": self.run_id, "token": self.token, "ttl": span_ms(self.lock_ttl), **prefix}


def read_part(fields: Mapping[str, Any]) -> Part | None:
    """Return for which run a message or request works, by its *fields*; None if for none."""
    raw = fields.get(PART)
    if raw is None and isinstance(headers := fields.get("headers"), Mapping):
        raw = headers.get(PART)
    if not isinstance(raw, Mapping):
        return None
    run_id, token, ttl = raw.get("run"), read_token(raw), raw.get("ttl")
    if not isinstance(run_id, str) or not token or type(ttl) is not int or not 0 <= ttl <= LONGEST_TTL:
        return None
    prefix = raw.get("prefix")
    if prefix is not None and not is_prefix(prefix):
        return None
    return Part(run_id, token, timedelta(milliseconds=ttl), prefix)


class Succession:
    """Marks what a run's task publishes, and follows the steps of what it was replaced by.

    *write* writes an act, or leaves it to the main process. *is_apart* says whether this is a process of the pool.
    """

    def __init__(self, context: Context, write: Callable[[Act], object], is_apart: Callable[[], bool]) -> None:
        self.context = context
        self._write = write
        self._is_apart = is_apart

    def connect(self) -> None:
        """Connect Celery's signals; weakly, so that it lives as long as its app."""
        signals.before_task_publish.connect(self.on_publish)
        signals.task_prerun.connect(self.on_prerun)
        signals.task_postrun.connect(self.on_postrun)

    def on_publish(self, headers: Any = None, body: Any = None, **_: Any) -> None:
        """Give the message that is being published what it inherits from the task that publishes it."""
        task = _task_stack.top
        if task is None or getattr(task, "app", None) is not self.context.app or not isinstance(headers, dict):
            return
        request = task.request
        run, part = read_run(request), read_part(vars(request))
        if run is None and part is None:
            return
        # In Celery's first protocol the body says what the headers say in the second.
        fields = body if isinstance(body, dict) else headers
        retries = counted(fields.get("retries"))
        own = fields.get("id") == request.id
        if own and retries > counted(request.retries):
            headers.update(_inherited(run, part, request))
        elif run is not None and _within(REPLACE):
            self._replace(run, request, own, headers, body)
        elif part is not None and _within(JOINING):
            _mark_all(headers, body, _Marks(None, {}, part))

    def _replace(self, run: CurrentRun, request: Any, own: bool, headers: dict[str, Any], body: Any) -> None:
        raw = getattr(request, KEY)
        number = counted(raw.get(PAST)) + counted(request.retries) + 1
        part = Part(run.id, run.token, timedelta(milliseconds=raw["ttl"]), run.prefix)
        if own:
            headers[KEY] = _heir(raw, number, counted((body if isinstance(body, dict) else headers).get("retries")))
            setattr(request, HEIR, (number, None))
        else:
            _mark_all(headers, body, _Marks(run.id, raw, part, number))
            setattr(request, HEIR, (number, part))

    def hand_down(self, run: CurrentRun, request: Any) -> bool:
        """Park a run that its task was replaced in until its heir begins; False if it has none."""
        heir = getattr(request, HEIR, None)
        if heir is None:
            return False
        number, part = heir
        self._write(Park(run.id, run.token, self.context.clock.now(), number))
        if part is not None:
            self.keep(part)
        return True

    # The steps of a replacement

    def on_prerun(self, task: Any, **_: Any) -> None:
        """Keep the run's lock when a step of its begins."""
        part = self._part_of(task)
        if part is None:
            return
        # A step has passed no gate, so it does not move the worker itself.
        if part.prefix is not None and self._is_apart():
            self.context.serve(part.prefix)
        self.keep(part)

    def on_postrun(self, task: Any, state: str | None, retval: Any, **_: Any) -> None:
        """Keep the run's lock for the next step, or end the run where a step fails: its heir never begins then."""
        part = self._part_of(task)
        if part is None or state is None:
            return
        if state == "FAILURE":
            self.fail(part, retval, alone=task.request.group is None)
        else:
            self.keep(part)

    def fail(self, part: Part, error: Any, *, alone: bool = True) -> None:
        """End a run as failed by a step. Where that is not *alone*, the others' lock is kept for a moment."""
        outcome = Outcome(
            state=State.FAILED,
            ended_at=self.context.clock.now(),
            error=describe(error) if isinstance(error, BaseException) else None,
            dying=timedelta(0) if alone else self.context.config.run_lease,
        )
        self._write(End(part.run_id, part.token, outcome))

    def failed(self, part: Part, error: BaseException) -> None:
        """End a run a step of which has failed, as the main process sees it: its process may be lost."""
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        if not isinstance(error, Retry | Ignore | Reject | Terminated):
            self.fail(part, error)

    def revoke(self, part: Part) -> None:
        """End a run a step of which was revoked."""
        outcome = Outcome(state=State.INTERRUPTED, reason=Reason.REVOKED, ended_at=self.context.clock.now())
        self._write(End(part.run_id, part.token, outcome))

    def keep(self, part: Part) -> None:
        """Keep the run's lock as long as that of a message in a queue: the next step may wait in one."""
        try:
            self.context.store.renew("", [Renewal(id=part.run_id, token=0, accepted=False)], part.lock_ttl)
        except StoreError as exc:
            logger.warning("The lock of run %s is not extended for its next step: %s", part.run_id, exc)

    def _part_of(self, task: Any) -> Part | None:
        if getattr(task, "app", None) is not self.context.app:
            return None
        return read_part(vars(task.request))


@dataclass(frozen=True, slots=True)
class _Marks:
    """What the messages of a canvas get: the run's header the one with its id, the part the others."""

    run_id: str | None
    raw: Mapping[str, Any]
    part: Part
    number: int = 0

    def of(self, task_id: object, retries: object) -> dict[str, Any]:
        if self.run_id is not None and task_id == self.run_id:
            return {KEY: _heir(self.raw, self.number, counted(retries))}
        return {PART: self.part.dump()}


def _heir(raw: Mapping[str, Any], number: int, retries: int) -> dict[str, Any]:
    """Return the header of an heir whose message says *retries*, so that it asks as the run's retry *number*."""
    return {**raw, PAST: max(0, number - retries)}


def _inherited(run: CurrentRun | None, part: Part | None, request: Any) -> dict[str, Any]:
    raw = raw_header(vars(request))
    found: dict[str, Any] = {} if part is None else {PART: part.dump()}
    return {**found, KEY: dict(raw)} if run is not None and isinstance(raw, Mapping) else found


def _mark_all(headers: dict[str, Any], body: Any, marks: _Marks) -> None:
    """Mark a message, and those that follow from it by its chain and chord."""
    if isinstance(body, dict):
        headers.update(marks.of(body.get("id"), body.get("retries")))
        following: Any = body
    else:
        headers.update(marks.of(headers.get("id"), headers.get("retries")))
        following = body[2] if isinstance(body, tuple) and len(body) > 2 else None
    if not isinstance(following, dict):
        return
    # What Celery's first protocol has for a chain.
    names = ("chain", "chord") if following is not body else ("callbacks", "chord")
    for name in names:
        if following.get(name):
            following[name] = _marked(following[name], marks)


def _marked(signature: Any, marks: _Marks) -> Any:
    """Return a marked copy of a signature, or of a list of them: who made it may use it again for something else."""
    if isinstance(signature, list | tuple):
        return [_marked(one, marks) for one in signature]
    if not isinstance(signature, Mapping) or "task" not in signature:
        return signature
    options = dict(signature.get("options") or {})
    for name in ("chain", "chord"):
        if options.get(name):
            options[name] = _marked(options[name], marks)
    inner = CONTAINERS.get(str(signature["task"]), ())
    if inner:
        kwargs = dict(signature.get("kwargs") or {})
        kwargs.update({name: _marked(kwargs[name], marks) for name in inner if name in kwargs})
        return {**signature, "kwargs": kwargs, "options": options}
    headers = dict(options.get("headers") or {})
    if KEY not in headers:
        options["headers"] = {**headers, **marks.of(options.get("task_id"), options.get("retries"))}
    return {**signature, "options": options}


def _within(codes: frozenset[Any]) -> bool:
    """Whether one of these functions is being executed by this thread."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code in codes:
            return True
        frame = frame.f_back
    return False
