"""The line to the broker: a connection of the engine's own, opened when it is needed, and when to try it again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from celery_legion.engine.aside import Aside, BoundedProducer, HangsError
from celery_legion.engine.batching import unbatched
from celery_legion.engine.bounds import AMQP, is_bounded, sentinel_options, transport_options
from celery_legion.engine.roll_call import ANSWERS_WITHIN, call_roll, count_consumers
from celery_legion.engine.servers import Servers

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before the broker is tried again: doubled after each failure in a row, up to the longest."""

LONGEST_OF_SEVERAL = 2.0
"""The longest pause where another server takes over when one fails."""

LEFT_LIMIT = 50
"""How many hanging calls are left behind; beyond it nothing is tried until one of them returns."""


class Line:
    """Holds one connection and its producer. Every call on them is bounded by *timeout*.

    Whoever uses the producer says how that went, by :meth:`fail` and :meth:`mend`. After a failure the connection is
    dropped, and nothing should be tried before :meth:`ready` says so. Where the app names several brokers, each is
    tried once; the one that answers is kept until it fails.
    """

    def __init__(self, app: Any, timeout: timedelta, monotonic: Callable[[], float]) -> None:
        self._app = app
        self._timeout = timeout.total_seconds()
        self._monotonic = monotonic
        self.connection: Any = None
        self.name = ""
        """The broker's URL without its password, those of all if each was tried."""
        self._producer: Any = None
        self._known_servers: Servers | None = None
        self._aside: Aside | None = None
        self._left: list[Aside] = []
        self._last: str | None = None
        self._untried = 0
        self._reached = False
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

    def fail(self) -> None:
        """Drop the connection, which has failed, and let the broker rest for a while unless there is another one."""
        # Whoever has used it may have dropped it by now.
        was_open, self._reached = self._reached, False
        self.drop()
        if was_open:
            self._servers.turn()
        if was_open and self._untried > 0:
            self._untried -= 1
            self._pause = self._pause or FIRST_PAUSE
        else:
            longest = LONGEST_OF_SEVERAL if self._servers.replaceable else LONGEST_PAUSE
            self._pause = min(longest, self._pause * 2 or FIRST_PAUSE)
            self._not_before = self._monotonic() + self._pause

    def mend(self) -> None:
        """Remember that the broker takes messages."""
        self._pause = 0.0
        self._untried = self._servers.count - 1

    def producer(self) -> Any:
        """Return the producer; opens the connection if there is none, to the first server that answers."""
        if self._producer is None:
            self._open()
        return self._producer

    def consumers(self) -> dict[str, set[str]]:
        """Ask all workers by Celery's remote control which queues they consume: queue names by worker.

        Takes a second, for nobody knows how many will answer, on a connection of its own. A broker that fails is
        one at which nobody answers.
        """
        try:
            connection, driver = self._new_connection(self._timeout)
            return call_roll(self._app, connection) if is_bounded(driver) else self._call_aside(connection)
        except Exception as exc:
            logger.warning("workers could not be asked for their queues: %s", exc)
            return {}

    def count_consumers(self, queue: str) -> int | None:
        """Return how many consumers a queue has by the broker's count; None if it does not count, or does not answer.

        RabbitMQ does. A queue that does not exist has none.
        """
        try:
            connection, driver = self._new_connection(self._timeout)
            return count_consumers(connection, queue) if driver in AMQP else None
        except Exception as exc:
            logger.warning("the consumers of queue %s could not be counted: %s", queue, exc)
            return None

    def drop(self) -> None:
        """Forget the connection without waiting for the other side."""
        connection, self.connection, self._producer = self.connection, None, None
        aside, self._aside = self._aside, None

        def collect() -> None:
            try:
                connection.collect(socket_timeout=0.3)
            except Exception as exc:
                logger.debug("dropping the broker connection: %s", exc)

        if aside is not None:
            aside.leave(collect)
            self._left = [one for one in (*self._left, aside) if one.alive]
        elif connection is not None:
            collect()

    @property
    def _servers(self) -> Servers:
        if self._known_servers is None:
            # Not at once: a setting that cannot be read is a failure of the pass that needs it.
            self._known_servers = Servers(self._app)
        return self._known_servers

    def _open(self) -> None:
        servers, self._reached = self._servers, False
        until = self._monotonic() + self._timeout
        failure: Exception | None = None
        for _ in range(servers.count):
            self.name = servers.name
            try:
                self._connect(self._timeout / servers.count)
            except Exception as exc:
                self.drop()
                servers.turn()
                failure = exc
                if self._monotonic() >= until:
                    # The next attempt begins with the next one.
                    break
            else:
                self._reached = True
                self._tell()
                return
        self.name = servers.names
        if failure is not None:
            raise failure

    def _connect(self, seconds: float) -> None:
        self.connection, driver = self._new_connection(seconds)
        if is_bounded(driver):
            self._producer = self._new_producer(self.connection)
        else:
            if len(self._left) >= LEFT_LIMIT:
                self._left = [one for one in self._left if one.alive]
            if len(self._left) >= LEFT_LIMIT:
                raise HangsError(self._timeout)
            self._aside = Aside()
            producer = self._aside.call(self._timeout, self._new_producer, self.connection)
            self._producer = BoundedProducer(producer, self._aside, self._timeout)
        self._check_batching(driver)

    def _new_connection(self, seconds: float) -> tuple[Any, str]:
        """Return a connection to the current server that is not open yet, and the kind of its transport."""
        url, given = self._servers.current, self._app.conf.broker_transport_options
        driver = str(self._app.connection_for_write(url).transport.driver_type)
        options = transport_options(driver, given, self._timeout)
        if self._servers.sentinels:
            options |= sentinel_options(given, self._servers.sentinels, self._timeout)
        connection = self._app.connection_for_write(url, connect_timeout=seconds, transport_options=options)
        return connection, driver

    def _new_producer(self, connection: Any) -> Any:
        # One try: kombu's own retries would wait for seconds between them, and the engine has its own pauses.
        connection.ensure_connection(max_retries=0)
        return self._app.amqp.Producer(connection.channel(), auto_declare=False)

    def _call_aside(self, connection: Any) -> dict[str, set[str]]:
        aside = Aside()
        try:
            return aside.call(self._timeout + ANSWERS_WITHIN, call_roll, self._app, connection)
        finally:
            aside.leave(lambda: None)

    def _tell(self) -> None:
        """Say that messages go to another server than before."""
        current = self._servers.current
        if current is not None and current != (self._last or current):
            logger.warning("messages go to the broker %s from now on, since the one before it failed", self.name)
        self._last = current

    def _check_batching(self, driver: str) -> None:
        if driver != "redis" or self._warned or not hasattr(self._producer, "batch"):
            return
        if not self._producer.supports_batch_publish:
            self._warned = True
            logger.warning("%s", unbatched(self.connection, self._app.conf.broker_transport_options))
