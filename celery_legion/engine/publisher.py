"""Publishing with known delivery, on a connection of the engine's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any

from kombu.exceptions import KombuError, OperationalError

from celery_legion.engine.dispatch import Dispatch
from celery_legion.engine.line import Line
from celery_legion.errors import BrokerUnavailableError

BATCH_LIMIT = 200
"""Most messages between two flushes."""

Send = Callable[[Dispatch, Any], None]
"""Sends one dispatch through a producer and writes on it how that went; never raises for a message's sake."""


class Publisher:
    """Sends batches, and says which messages the broker is known to have.

    On Redis that is what a batch flushed; on AMQP what the broker confirmed (the connection is in confirm mode);
    on other transports what the client accepted. Every call is bounded by *timeout*. After a failure the connection is
    dropped, and nothing is tried before :meth:`ready` says so.
    """

    def __init__(self, app: Any, timeout: timedelta, monotonic: Callable[[], float]) -> None:
        self._line = Line(app, timeout, monotonic)
        self._suspects: set[str] = set()

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

    def publish(self, dispatches: Sequence[Dispatch], send: Send) -> list[str]:
        """Send *dispatches* (at most a batch) and return the run ids the broker is known to have.

        A message that cannot be sent for its own sake has its ``error`` written and does not
        hurt the others. After the first error of the connection nothing more of this batch is tried; messages
        of its job are tried alone from then on, after the others, and refused if they fail while these pass: a
        task's own code may raise what looks like a broken connection.

        Raises:
            BrokerUnavailableError: The connection failed. ``delivered`` on it are the ids that were
                known to be sent before; the others are uncertain and may be sent again under the same ids.
        """
        known: list[str] = []
        try:
            suspects = frozenset(self._suspects)
            self._send_together([one for one in dispatches if one.job not in suspects], send, known)
            for dispatch in dispatches:
                if dispatch.job in suspects:
                    self._send_alone(dispatch, send, known)
        except Exception as exc:
            if not self._is_broken(exc, batched=True):
                raise
            self._line.fail()
            error = BrokerUnavailableError(self._line.name, str(exc) or type(exc).__name__)
            error.delivered = tuple(known)
            raise error from exc
        self._line.mend()
        return known

    def _send_together(self, dispatches: Sequence[Dispatch], send: Send, known: list[str]) -> None:
        producer = self._line.producer()
        batched = bool(getattr(producer, "supports_batch_publish", False))
        with self._batch(producer, batched):
            for dispatch in dispatches:
                error = self._send(dispatch, send, producer)
                if error is not None and self._is_broken(error, batched):
                    self._suspects.add(dispatch.job)
                    raise error
                if error is not None and self._closed_channel(error):
                    self._line.drop()
                    producer = self._line.producer()
                if dispatch.accepted and not batched:
                    known.append(dispatch.run_id)
        if batched:
            known += [dispatch.run_id for dispatch in dispatches if dispatch.accepted]

    def _send_alone(self, dispatch: Dispatch, send: Send, known: list[str]) -> None:
        error = self._send(dispatch, send, self._line.producer())
        if error is not None and self._is_broken(error, batched=True):
            self._line.drop()
            if not known:
                # Nothing passes now: a broker may greet and still take no message, as one short of memory does.
                raise error
            # On a line of its own, beside others that pass, an error is the message's own and stays written on it.
            error = self._send(dispatch, send, self._line.producer())
            if error is not None and self._is_broken(error, batched=True):
                self._line.drop()
        if dispatch.accepted:
            self._suspects.discard(dispatch.job)
            known.append(dispatch.run_id)

    def _send(self, dispatch: Dispatch, send: Send, producer: Any) -> Exception | None:
        dispatch.accepted, dispatch.error = False, None
        dispatch.publishing = self._line.publishing
        try:
            send(dispatch, producer)
        except Exception as exc:
            # Not Celery's: a monitor's wrapper, or options that cannot be copied.
            dispatch.error = exc
        return dispatch.error

    def _is_broken(self, exc: Exception, batched: bool) -> bool:
        if isinstance(exc, (OSError, OperationalError)):
            return True
        if isinstance(exc, KombuError) and type(exc).__name__ == "BatchPublishError":
            return True
        connection = self._line.connection
        if connection is None:
            return False
        if isinstance(exc, tuple(connection.connection_errors)):
            return True
        return batched and isinstance(exc, tuple(connection.channel_errors))

    def _closed_channel(self, exc: Exception) -> bool:
        """Whether the broker refused this one message and closed the channel for it (one queue's arguments, say)."""
        connection = self._line.connection
        return connection is not None and isinstance(exc, tuple(connection.channel_errors))

    @contextmanager
    def _batch(self, producer: Any, batched: bool) -> Iterator[None]:
        with producer.batch(max_size=BATCH_LIMIT) if batched else nullcontext():
            yield
