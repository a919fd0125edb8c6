"""Making: what a user's code does on the way to a message is done before any broker is asked for anything.

The task's ``apply_async``, routers, options, receivers of signals, serializers and the wrappers of monitors are given a
producer that keeps each message as it was about to be sent. So whatever they raise is their own error, and never the
broker's; and what they have sent is counted, and not believed.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from celery.result import EagerResult
from celery.signals import after_task_publish

from celery_legion.control import error_in_line, in_line
from celery_legion.engine.dispatch import Dispatch, Draft, Making, NotSentError
from celery_legion.engine.fanout import fanout_of
from celery_legion.header import KEY

logger = logging.getLogger(__name__)

Send = Callable[[Dispatch, Any], None]
"""Makes the message of one dispatch through a producer; writes on it what it came to, or raises."""

FIELDS = (
    "body",
    "priority",
    "content_type",
    "content_encoding",
    "headers",
    "properties",
    "routing_key",
    "mandatory",
    "immediate",
    "exchange",
    "declare",
    "timeout",
    "confirm_timeout",
    "retry",
    "retry_policy",
)
"""What kombu's producer hands on for one message, in its order."""

KEPT = 1000
"""Most messages that are kept for a broker that is away; others are made once more."""

REFUSALS = frozenset({"AlreadyQueued", "AlreadyQueuedError", "DuplicateTaskError"})
GUARDS = ("celery_once", "celery_heimdall", "celery_singleton")
"""What packages that keep a task from being queued twice raise for one that is queued."""


class Maker:
    """Makes the messages of dispatches, each once: what the broker did not take is kept until it does."""

    def __init__(self, app: Any) -> None:
        # Once for all makers, and not for each message: connecting makes Celery forget whom it has to ask.
        after_task_publish.connect(_see, weak=False, dispatch_uid="celery_legion.making")
        self._app = app
        self._producer: Any = None
        self._drafts: list[Draft] = []
        self._kept: OrderedDict[str, Making] = OrderedDict()

    def make(self, dispatch: Dispatch, send: Send) -> None:
        """Write on *dispatch* what it is to send: ``making``, or the ``error`` for which there is nothing to send.

        Raises:
            Exception: The app has no broker that kombu knows.
        """
        kept = self._kept.get(dispatch.run_id)
        if kept is not None:
            dispatch.making = kept
            return
        self.build(dispatch, send)
        if dispatch.making is not None:
            self.keep(dispatch.run_id, dispatch.making)

    def build(self, dispatch: Dispatch, send: Send) -> None:
        """Do what :meth:`make` does, and keep nothing."""
        dispatch.making, dispatch.error, dispatch.result = None, None, None
        producer = self._capturing()
        self._drafts = []
        with _sightings() as seen:
            try:
                send(dispatch, producer)
            except Exception as exc:
                # Not Celery's: a monitor's wrapper, or options that cannot be copied.
                dispatch.error = exc
        try:
            self._judge(dispatch, self._drafts, seen)
        except Exception as exc:
            dispatch.error = exc

    def keeps(self, run_id: str) -> bool:
        """Return whether the messages of a run are made."""
        return run_id in self._kept

    def keep(self, run_id: str, making: Making) -> None:
        """Keep the messages of a run until the broker takes them."""
        self._kept[run_id] = making
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def forget(self, run_id: str) -> None:
        """Keep the messages of a run no longer."""
        self._kept.pop(run_id, None)

    def _judge(self, dispatch: Dispatch, drafts: Sequence[Draft], seen: Sequence[Sighting]) -> None:
        tasks = [draft for draft in drafts if draft.task_id is not None]
        elsewhere = _elsewhere(tasks, seen)
        strays = [one for one in elsewhere if self._is_ours(one, dispatch)]
        if not tasks and not strays:
            dispatch.error = _reason(dispatch)
            return
        if dispatch.error is not None:
            text = "job %s: its message was made before an error, and is sent: %s"
            logger.warning(text, in_line(dispatch.job), error_in_line(dispatch.error))
            dispatch.error = None
        for draft in tasks:
            self._announce(draft)
        guarded = dispatch.header is not None and self._is_one(dispatch, tasks, strays)
        if dispatch.header is not None and tasks:
            (self._mark if guarded else self._unmark)(dispatch, tasks)
        dispatch.making = Making(
            drafts=tuple(drafts), messages=len(tasks) + len(strays), guarded=guarded, elsewhere=not tasks
        )

    def _is_one(self, dispatch: Dispatch, tasks: Sequence[Draft], strays: Sequence[Sighting]) -> bool:
        """Whether one message stands for the run, and one worker gets it: else none can guard it, or report on it."""
        ours = [draft for draft in tasks if draft.task_id == dispatch.run_id or KEY in draft.headers]
        if not tasks:
            return len(strays) == 1 and strays[0].task_id == dispatch.run_id and strays[0].marked
        if len(ours) != 1 or ours[0].task_id != dispatch.run_id:
            return False
        return fanout_of(self._app, ours[0].exchange, ours[0].declare) is None

    def _is_ours(self, one: Sighting, dispatch: Dispatch) -> bool:
        """Whether a message that went out by another producer is the run's."""
        result = getattr(dispatch.result, "id", None)
        return one.task_id in (dispatch.run_id, result) or one.task == dispatch.message.task

    def _announce(self, draft: Draft) -> None:
        """Have the exchange declared from which every worker gets a copy: Celery leaves that to them."""
        exchange = fanout_of(self._app, draft.exchange, draft.declare)
        if exchange is not None and exchange not in draft.declare:
            draft.fields["declare"] = [*draft.declare, exchange]

    def _mark(self, dispatch: Dispatch, tasks: Sequence[Draft]) -> None:
        """Put the run's header back where an ``apply_async`` of the user's has lost it."""
        for draft in tasks:
            if draft.task_id == dispatch.run_id and KEY not in draft.headers and dispatch.header is not None:
                draft.headers[KEY] = dispatch.header.dump()

    def _unmark(self, dispatch: Dispatch, tasks: Sequence[Draft]) -> None:
        """Let each message be executed: without a header none asks for the run, and none has the id of another."""
        known: set[str] = set()
        for draft in tasks:
            draft.headers.pop(KEY, None)
            if draft.task_id in known:
                draft.rename(str(uuid4()))
            known.add(str(draft.task_id))

    def _capturing(self) -> Any:
        if self._producer is None:
            drafts = self

            def _publish(producer: Any, *args: Any, **kwargs: Any) -> None:
                drafts._drafts.append(Draft(fields={**dict(zip(FIELDS, args, strict=False)), **kwargs}))

            kind = type("MakingProducer", (self._app.amqp.Producer,), {"_publish": _publish})
            self._producer = kind(_Channel(self._app.connection_for_write()), auto_declare=False)
        return self._producer


def _reason(dispatch: Dispatch) -> Exception:
    """Return why a dispatch that has sent nothing has not: what was raised, or what was returned instead."""
    error = dispatch.error
    if error is not None and not _is_refusal(error):
        return error
    if error is not None:
        return NotSentError(f"its apply_async has refused it: {error_in_line(error)}")
    result = dispatch.result
    if result is None:
        return NotSentError("its apply_async returned nothing")
    if isinstance(result, EagerResult):
        return NotSentError("its apply_async executed it in the scheduler")
    if (known := getattr(result, "id", None)) is not None:
        return NotSentError(f"its apply_async returned the result of {in_line(known)}")
    return NotSentError(f"its apply_async returned a {type(result).__name__}")


def _is_refusal(error: Exception) -> bool:
    return any(
        kind.__name__ in REFUSALS and kind.__module__.partition(".")[0] in GUARDS for kind in type(error).__mro__
    )


@dataclass(frozen=True, slots=True)
class Sighting:
    """A task's message that Celery says is published: by whichever producer, ours included."""

    task: str
    task_id: str | None
    marked: bool


def _elsewhere(tasks: Sequence[Draft], seen: Sequence[Sighting]) -> list[Sighting]:
    """Return what was published by another producer: what was seen, without what was captured."""
    captured = [draft.task_id for draft in tasks]
    rest = []
    for one in seen:
        if one.task_id in captured:
            captured.remove(one.task_id)
        else:
            rest.append(one)
    return rest


_seen = threading.local()


@contextmanager
def _sightings() -> Iterator[list[Sighting]]:
    """Collect what this thread publishes meanwhile."""
    found: list[Sighting] = []
    _seen.found = found
    try:
        yield found
    finally:
        _seen.found = None


def _see(sender: Any = None, headers: Any = None, body: Any = None, **_: Any) -> None:
    found: list[Sighting] | None = getattr(_seen, "found", None)
    if found is None:
        return
    # The old protocol has the id in its body.
    task_id = headers.get("id") or (body.get("id") if isinstance(body, dict) else None)
    found.append(Sighting(str(sender), task_id, KEY in headers))


class _Channel:
    """Stands where a channel is asked for while messages are made. What is declared on it need not exist by then."""

    def __init__(self, client: Any) -> None:
        self.connection = _Link(client)

    def prepare_queue_arguments(self, arguments: Any, **_: Any) -> Any:
        return arguments

    def queue_declare(self, queue: str = "", **_: Any) -> tuple[str, int, int]:
        return queue or f"amq.gen-{uuid4().hex}", 0, 0

    def exchange_declare(self, *_: Any, **__: Any) -> None:
        """Declare nothing."""

    queue_bind = exchange_bind = exchange_declare


class _Link:
    """The connection below a channel; *client* is kombu's, which is never opened."""

    def __init__(self, client: Any) -> None:
        self.client = client
