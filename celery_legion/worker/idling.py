"""Whether a worker waits for messages in vain: then there are none in its queues."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from celery.bootsteps import RUN
from celery.worker import state

from celery_legion.worker.requests import limited_requests, scheduled_requests, snapshot

logger = logging.getLogger(__name__)

NOT_IDLE = timedelta(0)

TOLERANCE = 0.2
"""The part of the span that may be missing between two glances: no clock or wait is exact."""


@dataclass(frozen=True, slots=True)
class _Glance:
    """A moment at which a worker had room for a message: how many it had received, and on which connection."""

    at: float
    received: int
    connection: Any


class Idling:
    """Tells by two glances, about *span* seconds apart or more.

    One alone would not do: between the end of one task and the receipt of the next message a busy worker has room, too.
    When in doubt it is not idle: as long as the connection to the broker is not up, after a new one was made, or when
    what it holds fills its prefetch count; *others* counts what it holds of which Celery's books know nothing.
    """

    def __init__(self, span: float, others: Callable[[], int] = lambda: 0) -> None:
        self.span = span
        self._others = others
        self._received = 0
        self._last: _Glance | None = None

    def receive(self) -> None:
        """Note that a message was received."""
        self._received += 1

    def glance(self, consumer: Any) -> None:
        """Take the first of two glances."""
        self._last = self._look(consumer)

    def idle(self, consumer: Any) -> timedelta:
        """Return for how long the worker has waited for messages and received none; zero when it has not."""
        last, now = self._last, self._look(consumer)
        if last is None or now is None or now.at - last.at < (1 - TOLERANCE) * self.span:
            return NOT_IDLE
        if last.received != now.received or last.connection is not now.connection:
            return NOT_IDLE
        return timedelta(seconds=now.at - last.at)

    def _look(self, consumer: Any) -> _Glance | None:
        try:
            return self._see(consumer)
        except (AttributeError, TypeError) as exc:
            # Its loop takes the consumer apart meanwhile, or the pool is one that does not say its size.
            logger.debug("Whether this worker is idle cannot be told: %r", exc)
            return None

    def _see(self, consumer: Any) -> _Glance | None:
        received, at = self._received, time.monotonic()
        connection = getattr(consumer, "connection", None)
        # Not ``connection.connected``: some transports ask their server then, and leases wait for it meanwhile.
        if getattr(connection, "_connection", None) is None or getattr(consumer, "task_consumer", None) is None:
            return None
        if consumer.blueprint.state != RUN:
            return None
        reserved, active = snapshot(state.reserved_requests), set(snapshot(state.active_requests))
        if len(reserved) >= consumer.pool.num_processes or not active.issuperset(reserved):
            return None
        held = len(reserved) + len(snapshot(scheduled_requests)) + len(limited_requests(consumer)) + self._others()
        # Zero is no limit.
        if 0 < consumer.qos.value <= held:
            return None
        return _Glance(at, received, connection)
