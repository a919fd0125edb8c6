"""Publishing with known delivery, on a connection of the engine's own."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any

from kombu.exceptions import KombuError, OperationalError

from celery_legion.engine.dispatch import Dispatch
from celery_legion.engine.levels import Levels, lengthened
from celery_legion.errors import BrokerUnavailableError

logger = logging.getLogger(__name__)

BATCH_LIMIT = 200
"""Most messages between two flushes."""

ANSWERS_WITHIN = 1.0
"""Seconds for which answers of workers are waited for."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before the broker is tried again: doubled after each failure in a row, up to the longest."""

NOT_FOUND = 404
"""AMQP's word for a queue that does not exist."""

Send = Callable[[Dispatch, Any], None]
"""Sends one dispatch through a producer and writes on it how that went; never raises for a message's sake."""


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
        self._connection: Any = None
        self._producer: Any = None
        self._options: Mapping[str, Any] = {}
        self._pause = 0.0
        self._not_before = 0.0
        self._warned = False
        self._suspects: set[str] = set()
        self._levels = Levels(app)

    def ready(self) -> bool:
        """Return whether the broker may be tried now."""
        return self._monotonic() >= self._not_before

    @property
    def broken(self) -> bool:
        """Whether the last try failed."""
        return self._pause > 0

    def retry_in(self) -> float:
        """Return the seconds until :meth:`ready`."""
        return max(0.0, self._not_before - self._monotonic())

    def consumers(self) -> dict[str, set[str]]:
        """Ask all workers by Celery's remote control which queues they consume: queue names by worker.

        Takes a second, for nobody knows how many will answer, on a connection of its own. A broker that fails is
        one at which nobody answers, and so is one that cannot carry such a question.
        """
        driver = self._app.connection_for_write().transport.driver_type
        options = self._transport_options(driver)
        try:
            with self._app.connection_for_write(connect_timeout=self._timeout, transport_options=options) as connection:
                if not connection.supports_exchange_type("fanout"):
                    return {}
                connection.ensure_connection(max_retries=0)
                answers = self._app.control.inspect(timeout=ANSWERS_WITHIN, connection=connection).active_queues()
        except Exception as exc:
            logger.warning("workers could not be asked for their queues: %s", exc)
            return {}
        return {worker: {queue["name"] for queue in queues} for worker, queues in (answers or {}).items()}

    def count_consumers(self, queue: str) -> int | None:
        """Return how many consumers a queue has by the broker's count; None if it does not count, or does not answer.

        RabbitMQ does. A queue that does not exist has none.
        """
        driver = self._app.connection_for_write().transport.driver_type
        if driver not in ("amqp", "py-amqp"):
            return None
        options = self._transport_options(driver)
        try:
            with self._app.connection_for_write(connect_timeout=self._timeout, transport_options=options) as connection:
                connection.ensure_connection(max_retries=0)
                return int(connection.default_channel.queue_declare(queue, passive=True).consumer_count)
        except Exception as exc:
            if getattr(exc, "reply_code", None) == NOT_FOUND:
                return 0
            logger.warning("the consumers of queue %s could not be counted: %s", queue, exc)
            return None

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
            self._fail()
            error = BrokerUnavailableError(self._app.connection_for_write().as_uri(), str(exc) or type(exc).__name__)
            error.delivered = tuple(known)
            raise error from exc
        self._pause = 0.0
        return known

    def _send_together(self, dispatches: Sequence[Dispatch], send: Send, known: list[str]) -> None:
        producer = self._ensure_producer()
        self._levels.prepare(self._connection, [dispatch.message for dispatch in dispatches])
        batched = bool(getattr(producer, "supports_batch_publish", False))
        with self._batch(producer, batched):
            for dispatch in dispatches:
                error = self._send(dispatch, send, producer)
                if error is not None and self._is_broken(error, batched):
                    self._suspects.add(dispatch.job)
                    raise error
                if error is not None and self._closed_channel(error):
                    self.drop()
                    producer = self._ensure_producer()
                if dispatch.accepted and not batched:
                    known.append(dispatch.run_id)
        if batched:
            known += [dispatch.run_id for dispatch in dispatches if dispatch.accepted]

    def _send_alone(self, dispatch: Dispatch, send: Send, known: list[str]) -> None:
        error = self._send(dispatch, send, self._ensure_producer())
        if error is not None and self._is_broken(error, batched=True):
            self.drop()
            if not known:
                # Nothing passes now: a broker may greet and still take no message, as one short of memory does.
                raise error
            # On a line of its own, beside others that pass, an error is the message's own and stays written on it.
            error = self._send(dispatch, send, self._ensure_producer())
            if error is not None and self._is_broken(error, batched=True):
                self.drop()
        if dispatch.accepted:
            self._suspects.discard(dispatch.job)
            known.append(dispatch.run_id)

    def _send(self, dispatch: Dispatch, send: Send, producer: Any) -> Exception | None:
        dispatch.accepted, dispatch.error = False, None
        dispatch.publishing = self._options
        try:
            dispatch.message = lengthened(self._app, dispatch.message)
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
        connection = self._connection
        if connection is None:
            return False
        if isinstance(exc, tuple(connection.connection_errors)):
            return True
        return batched and isinstance(exc, tuple(connection.channel_errors))

    def _closed_channel(self, exc: Exception) -> bool:
        """Whether the broker refused this one message and closed the channel for it (one queue's arguments, say)."""
        return self._connection is not None and isinstance(exc, tuple(self._connection.channel_errors))

    def _fail(self) -> None:
        self.drop()
        self._pause = min(LONGEST_PAUSE, self._pause * 2 or FIRST_PAUSE)
        self._not_before = self._monotonic() + self._pause

    def _ensure_producer(self) -> Any:
        if self._producer is None:
            driver = self._app.connection_for_write().transport.driver_type
            connection = self._app.connection_for_write(
                connect_timeout=self._timeout, transport_options=self._transport_options(driver)
            )
            self._connection = connection
            # One try: kombu's own retries would wait for seconds between them, and the engine has its own pauses.
            connection.ensure_connection(max_retries=0)
            self._options = self._publishing(driver)
            self._producer = self._app.amqp.Producer(connection.channel(), auto_declare=False)
            self._check_batching(driver)
        return self._producer

    def _transport_options(self, driver: str) -> dict[str, Any]:
        """Return what bounds every call on the transport; a user's own shorter bound is kept."""
        given = dict(self._app.conf.broker_transport_options or {})
        options: dict[str, Any] = {}
        bounded: tuple[str, ...] = ()
        if driver == "redis":
            bounded = ("socket_timeout", "socket_connect_timeout")
        elif driver in ("amqp", "py-amqp"):
            bounded = ("read_timeout", "write_timeout")
            options["confirm_publish"] = True
        for name in bounded:
            value = given.get(name)
            options[name] = min(value, self._timeout) if isinstance(value, (int, float)) and value else self._timeout
        return options

    def _publishing(self, driver: str) -> Mapping[str, Any]:
        # Before Celery 5.7 the option would end up among the message's properties.
        accepts = "confirm_timeout" in inspect.signature(self._app.amqp.send_task_message).parameters
        return {"confirm_timeout": self._timeout} if accepts and driver in ("amqp", "py-amqp") else {}

    def _check_batching(self, driver: str) -> None:
        if driver != "redis" or self._warned or not hasattr(self._producer, "batch"):
            return
        if not self._producer.supports_batch_publish:
            self._warned = True
            logger.warning(
                "messages are sent one by one: retry_on_timeout, retry or retry_on_error in "
                "broker_transport_options turns batches off; remove it for a faster scheduler"
            )

    @contextmanager
    def _batch(self, producer: Any, batched: bool) -> Iterator[None]:
        with producer.batch(max_size=BATCH_LIMIT) if batched else nullcontext():
            yield

    def drop(self) -> None:
        """Forget the connection without waiting for the other side."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            try:
                connection.collect(socket_timeout=0.3)
            except Exception as exc:
                logger.debug("dropping the broker connection: %s", exc)
