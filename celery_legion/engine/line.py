"""The line to the broker: a connection of the engine's own, opened when it is needed, and when to try it again."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from celery_legion.engine.batching import unbatched

logger = logging.getLogger(__name__)

ANSWERS_WITHIN = 1.0
"""Seconds for which answers of workers are waited for."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before the broker is tried again: doubled after each failure in a row, up to the longest."""


class Line:
    """Holds one connection and its producer. Every call on them is bounded by *timeout*.

    Whoever uses the producer says how that went, by :meth:`fail` and :meth:`mend`. After a failure the connection is
    dropped, and nothing should be tried before :meth:`ready` says so.
    """

    def __init__(self, app: Any, timeout: timedelta, monotonic: Callable[[], float]) -> None:
        self._app = app
        self._timeout = timeout.total_seconds()
        self._monotonic = monotonic
        self.connection: Any = None
        self.publishing: Mapping[str, Any] = {}
        """What the options of each message need besides, for the connection's transport."""
        self._producer: Any = None
        self._pause = 0.0
        self._not_before = 0.0
        self._warned = False

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

    @property
    def name(self) -> str:
        """The broker's URL without its password."""
        return str(self._app.connection_for_write().as_uri())

    def fail(self) -> None:
        """Drop the connection, which has failed, and let the broker rest for a while."""
        self.drop()
        self._pause = min(LONGEST_PAUSE, self._pause * 2 or FIRST_PAUSE)
        self._not_before = self._monotonic() + self._pause

    def mend(self) -> None:
        """Remember that the broker takes messages."""
        self._pause = 0.0

    def consumers(self) -> dict[str, set[str]]:
        """Ask all workers by Celery's remote control which queues they consume: queue names by worker.

        Takes a second, for nobody knows how many will answer, on a connection of its own. A broker that fails is
        one at which nobody answers.
        """
        driver = self._app.connection_for_write().transport.driver_type
        options = self._transport_options(driver)
        try:
            with self._app.connection_for_write(connect_timeout=self._timeout, transport_options=options) as connection:
                connection.ensure_connection(max_retries=0)
                answers = self._app.control.inspect(timeout=ANSWERS_WITHIN, connection=connection).active_queues()
        except Exception as exc:
            logger.warning("workers could not be asked for their queues: %s", exc)
            return {}
        return {worker: {queue["name"] for queue in queues} for worker, queues in (answers or {}).items()}

    def producer(self) -> Any:
        """Return the producer; opens the connection if there is none."""
        if self._producer is None:
            driver = self._app.connection_for_write().transport.driver_type
            connection = self._app.connection_for_write(
                connect_timeout=self._timeout, transport_options=self._transport_options(driver)
            )
            self.connection = connection
            # One try: kombu's own retries would wait for seconds between them, and the engine has its own pauses.
            connection.ensure_connection(max_retries=0)
            self.publishing = self._publishing(driver)
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
            logger.warning("%s", unbatched(self.connection, self._app.conf.broker_transport_options))

    def drop(self) -> None:
        """Forget the connection without waiting for the other side."""
        connection, self.connection, self._producer = self.connection, None, None
        if connection is not None:
            try:
                connection.collect(socket_timeout=0.3)
            except Exception as exc:
                logger.debug("dropping the broker connection: %s", exc)
