"""Publishing with known delivery: messages are made first, then sent on a connection of the engine's own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

from amqp.exceptions import MessageNacked

from celery_legion.control import error_in_line
from celery_legion.engine.dispatch import Dispatch
from celery_legion.engine.levels import Levels, lengthened
from celery_legion.engine.line import Line
from celery_legion.engine.making import Send
from celery_legion.engine.makings import SLOW, Makings
from celery_legion.engine.sending import Sending
from celery_legion.errors import BrokerUnavailableError

__all__ = ["BATCH_LIMIT", "Publisher", "Send"]

logger = logging.getLogger(__name__)

BATCH_LIMIT = 200
"""Most messages between two flushes."""

COMMANDS = 20 * BATCH_LIMIT
"""Most commands between two flushes: a message may take several."""


class _LineError(Exception):
    """The broker or the line to it has failed, by the exception that this one is raised from."""


class Publisher:
    """Sends batches, and says which messages the broker is known to have.

    On Redis that is what a batch flushed; on AMQP what the broker confirmed (the connection is in confirm mode);
    on other transports what the client accepted. Every call is bounded by *timeout*. After a failure the connection is
    dropped, and nothing is tried before :meth:`ready` says so.
    """

    def __init__(self, app: Any, timeout: timedelta, monotonic: Callable[[], float]) -> None:
        self._app = app
        self._timeout = timeout.total_seconds()
        self._monotonic = monotonic
        self._line = Line(app, timeout, monotonic)
        self._makings = Makings(app, monotonic)
        self._sending: Sending | None = None
        self._levels = Levels(app)

    def ready(self) -> bool:
        """Return whether the broker may be tried now."""
        return self._line.ready()

    @property
    def broken(self) -> bool:
        """Whether the last try failed."""
        return self._line.broken

    def retry_in(self) -> float:
        """Return the seconds until :meth:`ready`."""
        return self._line.retry_in()

    def consumers(self) -> dict[str, set[str]]:
        """Ask all workers which queues they consume; see :meth:`Line.consumers`."""
        return self._line.consumers()

    def count_consumers(self, queue: str) -> int | None:
        """Return how many consumers a queue has; see :meth:`Line.count_consumers`."""
        return self._line.count_consumers(queue)

    def is_ready(self, dispatch: Dispatch) -> bool:
        """Return whether publishing a late *dispatch* once more may come to something."""
        return self._makings.is_ready(dispatch)

    def wait(self, seconds: float) -> None:
        """Wait until a late making ends, or for *seconds*."""
        self._makings.wait(seconds)

    def publish(self, dispatches: Sequence[Dispatch], send: Send) -> list[str]:
        """Send *dispatches* (at most a batch) and return the run ids the broker is known to have.

        A message that cannot be made, or that the broker refuses for its own sake, has its ``error`` written and does
        not hurt the others; one that the broker wants later (a full queue's) is ``nacked``, and one
        whose making takes longer than a pass may wait is ``late``. What a user's code raises
        is never taken for the broker's failure, whatever its type.

        Raises:
            BrokerUnavailableError: The connection failed. ``delivered`` on it are the ids that were
                known to be sent before; the others are uncertain and may be sent again under the same ids.
        """
        known: list[str] = []
        try:
            if not dispatches:
                self._open()
            for some in self._made(dispatches, send, known):
                self._transmit(some, known)
        except _LineError as exc:
            self._line.fail()
            cause = exc.__cause__ or exc
            error = BrokerUnavailableError(self._line.name, str(cause) or type(cause).__name__)
            error.delivered = tuple(known)
            raise error from cause
        self._line.mend()
        return known

    def _made(self, dispatches: Sequence[Dispatch], send: Send, known: list[str]) -> Iterator[list[Dispatch]]:
        """Make the messages, and yield those that are to be sent: all at once, unless making them takes long."""
        made: list[Dispatch] = []
        began = self._monotonic()
        for dispatch in dispatches:
            dispatch.accepted = dispatch.nacked = False
            try:
                dispatch.message = lengthened(self._app, dispatch.message)
            except Exception as exc:
                dispatch.error = exc
                continue
            try:
                self._makings.make(dispatch, send)
            except Exception as exc:
                raise _LineError from exc
            if dispatch.late:
                continue
            if dispatch.making is not None and dispatch.making.elsewhere:
                self._accept(dispatch, known)
            elif dispatch.making is not None:
                made.append(dispatch)
            if made and self._monotonic() - began > SLOW:
                yield made
                made, began = [], self._monotonic()
        if made:
            yield made

    def _transmit(self, dispatches: Sequence[Dispatch], known: list[str]) -> None:
        sending = self._open()
        try:
            self._levels.prepare(self._line.connection, [dispatch.message for dispatch in dispatches])
        except Exception as exc:
            raise _LineError from exc
        if getattr(sending.producer, "supports_batch_publish", False):
            dispatches = self._send_batch(sending, dispatches, known)
        self._send_each(dispatches, known)

    def _send_batch(self, sending: Sending, dispatches: Sequence[Dispatch], known: list[str]) -> list[Dispatch]:
        """Send all with one flush; return what is to be sent one by one, since the line broke or the broker was ill."""
        began = self._monotonic()
        counts = []
        try:
            with sending.producer.batch(max_size=COMMANDS):
                for dispatch in dispatches:
                    before = sending.held
                    if (error := self._send(sending, dispatch)) is not None:
                        raise error
                    counts.append(sending.held - before)
                answers = sending.flush()
        except Exception as exc:
            for dispatch in dispatches:
                dispatch.accepted = False
            self._break(exc, began)
            return [dispatch for dispatch in dispatches if dispatch.error is None]
        failure = None
        for dispatch, count in zip(dispatches, counts, strict=True):
            mine, answers = answers[:count], answers[count:]
            error = next((answer for answer in mine if isinstance(answer, Exception)), None)
            if error is None and dispatch.accepted:
                self._accept(dispatch, known)
            elif error is not None:
                dispatch.accepted = False
                if sending.blames_broker(error):
                    failure = error
                else:
                    self._refuse(dispatch, error)
        if failure is not None:
            self._break(failure, began)
        return [dispatch for dispatch in dispatches if not dispatch.accepted and dispatch.error is None]

    def _send_each(self, dispatches: Sequence[Dispatch], known: list[str]) -> None:
        """Send one by one, those last that break the line: a message that does so beside others that pass is at fault.

        Two of them in a row, and the broker is at fault.
        """
        aside: list[tuple[Dispatch, Exception]] = []
        passes, before = True, len(known)
        for dispatch in dispatches:
            began = self._monotonic()
            error = self._send_one(dispatch, known)
            if error is None:
                passes = passes or dispatch.accepted
                continue
            self._break(error, began, hopeless=not passes)
            aside.append((dispatch, error))
            passes = False
        for dispatch, error in aside:
            if len(known) == before:
                # Nothing passes now: a broker may greet and still take no message, as one short of memory does.
                raise _LineError from error
            again = self._send_one(dispatch, known)
            if again is not None:
                self._line.drop()
                self._open()
                self._refuse(dispatch, again)

    def _break(self, error: Exception, began: float, *, hopeless: bool = False) -> None:
        """Drop the line that *error* broke; go on only if that took no time, as one message's fault takes none."""
        self._line.drop()
        if hopeless or self._monotonic() - began > self._timeout / 4:
            raise _LineError from error
        self._open()

    def _send_one(self, dispatch: Dispatch, known: list[str]) -> Exception | None:
        error = self._send(self._open(), dispatch, at_once=True)
        if dispatch.accepted:
            self._accept(dispatch, known)
        return error

    def _send(self, sending: Sending, dispatch: Dispatch, *, at_once: bool = False) -> Exception | None:
        """Send one dispatch's messages; return what broke the line. What is the dispatch's own is written on it."""
        for draft in dispatch.making.drafts if dispatch.making is not None else ():
            if draft.gone:
                continue
            try:
                sending.send(draft)
            except MessageNacked:
                dispatch.nacked = True
                return None
            except Exception as exc:
                if sending.blames_broker(exc, draft):
                    return exc
                if sending.closes_channel(exc):
                    self._line.drop()
                    sending = self._open()
                if draft.task_id is not None:
                    self._refuse(dispatch, exc)
                    return None
                logger.debug("an event is not sent: %s", error_in_line(exc))
            draft.gone = at_once
        dispatch.accepted = True
        return None

    def _accept(self, dispatch: Dispatch, known: list[str]) -> None:
        dispatch.accepted = True
        known.append(dispatch.run_id)
        self._makings.forget(dispatch.run_id)

    def _refuse(self, dispatch: Dispatch, error: Exception) -> None:
        dispatch.error = error
        self._makings.forget(dispatch.run_id)

    def _open(self) -> Sending:
        """Return what sends on the line; opens it if need be. Whatever fails here is the broker's failure."""
        try:
            producer = self._line.producer()
            if self._sending is None or self._sending.producer is not producer:
                self._sending = Sending(producer, self._line.connection, self._timeout)
        except Exception as exc:
            raise _LineError from exc
        return self._sending

    def drop(self) -> None:
        """Forget the connection without waiting for the other side."""
        self._line.drop()
