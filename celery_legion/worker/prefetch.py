"""The prefetch count where a broker keeps one for each consumer, which is as it was begun: quorum queues."""

from __future__ import annotations

import logging
from typing import Any

from celery.bootsteps import CLOSE, TERMINATE
from celery.utils.quorum_queues import detect_quorum_queues

logger = logging.getLogger(__name__)

SOON = 0.1
"""Seconds in which several changes become one."""

LATER = 10.0
"""Seconds for which a count stays higher than it need be: messages that wait at the gate come and go."""


class Prefetch:
    """Makes what ``consumer.qos`` says true where the broker does not change it under a consumer.

    Celery calls the count static then. The gate holds messages beside it, so it must grow, or nothing else is
    delivered: the consumer is cancelled, and begun anew with another count.
    """

    def __init__(self) -> None:
        self._qos: Any = None
        self._applies = False
        self._count = 0
        self._planned: set[float] = set()

    def follow(self, consumer: Any) -> None:
        """Let the broker know soon that ``consumer.qos`` has changed."""
        qos = consumer.qos
        if qos is not self._qos:
            self._qos, self._planned = qos, set()
            self._applies = keeps_count(consumer)
            self._count = getattr(consumer, "initial_prefetch_count", 0)
        if not self._applies or qos.value == self._count:
            return
        seconds = SOON if qos.value > self._count else LATER
        if seconds not in self._planned:
            self._planned.add(seconds)
            # Where timers are greenlets, the connection belongs to the loop's.
            consumer.timer.call_after(seconds, consumer.call_soon, (self._apply, consumer, qos, seconds))

    def _apply(self, consumer: Any, qos: Any, seconds: float) -> None:
        if qos is not self._qos or consumer.qos is not qos:
            # The consumer has begun anew on another connection.
            return
        self._planned.discard(seconds)
        messages, count = consumer.task_consumer, qos.value
        if messages is None or consumer.blueprint.state in (CLOSE, TERMINATE):
            return
        if count > self._count if seconds == SOON else count < self._count:
            self._count = count
            logger.debug("Messages are consumed anew, with a prefetch count of %d", count)
            # What was delivered to it stays this worker's.
            messages.cancel()
            qos.set(count)
            messages.consume()


def keeps_count(consumer: Any) -> bool:
    """Return whether a count holds for each consumer as long as that lives, and not for the connection's channel."""
    connection = getattr(consumer, "connection", None)
    if connection is None or connection.transport.driver_type != "amqp":
        return False
    known = getattr(consumer, "qos_global", None)
    if known is not None:
        return not known
    # Celery says so itself since 5.7.
    app = consumer.app
    return bool(app.conf.worker_detect_quorum_queues and detect_quorum_queues(app, "amqp")[0])
