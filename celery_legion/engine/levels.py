"""Levels: the queues of growing delays through which RabbitMQ's messages with a countdown go to a quorum queue."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from celery.utils.quorum_queues import detect_quorum_queues
from kombu.common import Broadcast
from kombu.transport.native_delayed_delivery import (
    bind_queue_to_native_delayed_delivery_exchange,
    declare_native_delayed_delivery_exchanges_and_queues,
)

from celery_legion.codec import Message

logger = logging.getLogger(__name__)

LEAST = timedelta(seconds=1.5)
"""The least countdown that Celery sends through the levels, which count whole seconds, with what making it may take."""


def are_used(app: Any) -> bool:
    """Return whether *app* sends what has a countdown through the levels."""
    return bool(detect_quorum_queues(app, app.connection_for_write().transport.driver_type)[0])


def lengthened(app: Any, message: Message) -> Message:
    """Return *message* with a countdown that can be sent now: of one under a second Celery raises a ValueError."""
    eta = message.options.get("eta")
    if not isinstance(eta, datetime) or eta.tzinfo is None:
        return message
    # By the clock that Celery itself takes.
    now = app.now()
    if not now < eta < now + LEAST or not are_used(app):
        return message
    return replace(message, options={**message.options, "eta": now + LEAST})


class Levels:
    """Declares on a connection what Celery's workers declare when they start: a scheduler may be there before them.

    Otherwise the broker refuses the message, or drops it at the end of its countdown.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._connection: Any = None
        self._declared = False
        self._bound: set[str] = set()

    def prepare(self, connection: Any, messages: Iterable[Message]) -> None:
        """Declare the levels for *messages*, once a connection, and bind the app's queues to their end.

        Raises:
            Exception: The connection fails, with its own error.
        """
        if not any(message.options.get("eta") for message in messages) or not are_used(self._app):
            return
        if connection is not self._connection:
            self._connection, self._declared, self._bound = connection, False, set()
        # Celery sends to a direct exchange as ever, and says so: its worker waits for the countdown itself.
        queues = [
            queue
            for queue in list(self._app.amqp.queues.values())
            if queue.name not in self._bound and not isinstance(queue, Broadcast) and queue.exchange.type != "direct"
        ]
        if queues and not self._declared:
            # Not before there is a queue to bind: the app may come to know one later.
            self._declared = True
            self._on_channel(self._declare, "the levels of delayed delivery")
        for queue in queues:
            self._bound.add(queue.name)
            self._on_channel(lambda line, queue=queue: self._bind(line, queue), f"queue {queue.name}")

    def _declare(self, line: Any) -> None:
        kind = self._app.conf.broker_native_delayed_delivery_queue_type
        declare_native_delayed_delivery_exchanges_and_queues(line, kind)

    def _bind(self, line: Any, queue: Any) -> None:
        queue.bind(line.channel()).declare()
        bind_queue_to_native_delayed_delivery_exchange(line, queue)

    def _on_channel(self, declare: Any, what: str) -> None:
        """Call *declare* with something that gives it one channel, and close that."""
        channel = self._connection.channel()
        try:
            declare(SimpleNamespace(channel=lambda: channel))
        except (*self._connection.channel_errors, ValueError, TypeError) as exc:
            # A setting that kombu does not take is not the connection's failure, which would hold every job up. Whether
            # messages get through all the same, they will say.
            logger.warning("%s cannot be declared as Celery's workers would: %s", what, exc)
            if not channel.is_open:
                return
        channel.close()
