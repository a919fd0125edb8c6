"""The roll call: which workers answer Celery's remote control, which queues they consume, and how many do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ANSWERS_WITHIN = 1.0
"""Seconds for which answers of workers are waited for."""


NOT_FOUND = 404
"""AMQP's word for a queue that does not exist."""


class _OneProducer:
    """Stands for Celery's pool of producers: one, on the connection that the question is asked on.

    From the pool the question would go out on a connection that nothing bounds, and be tried for ever.
    """

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    @contextmanager
    def acquire(self) -> Iterator[Any]:
        """Yield what publishes."""
        yield self

    def publish(self, *args: Any, **kwargs: Any) -> Any:
        """Publish once, whatever else is asked for."""
        return self._producer.publish(*args, **{**kwargs, "retry": False})


def call_roll(app: Any, connection: Any) -> dict[str, set[str]]:
    """Return the queues by worker, asked on *connection*, which is closed afterwards. Takes :data:`ANSWERS_WITHIN`.

    A transport that cannot carry such a question to all is one at which nobody answers.
    """
    with connection:
        if not connection.supports_exchange_type("fanout"):
            return {}
        connection.ensure_connection(max_retries=0)
        mailbox = app.control.mailbox(connection)
        mailbox.producer_pool = _OneProducer(app.amqp.Producer(connection.channel(), auto_declare=False))
        replies = mailbox.multi_call("active_queues", timeout=ANSWERS_WITHIN) or ()
        return {name: {queue["name"] for queue in queues} for reply in replies for name, queues in reply.items()}


def count_consumers(connection: Any, queue: str) -> int:
    """Return how many consumers RabbitMQ counts for *queue*, asked on *connection*, which is closed afterwards.

    Raises:
        Exception: The connection fails, with its own error.
    """
    with connection:
        connection.ensure_connection(max_retries=0)
        try:
            return int(connection.default_channel.queue_declare(queue, passive=True).consumer_count)
        except connection.channel_errors as exc:
            if getattr(exc, "reply_code", None) == NOT_FOUND:
                return 0
            raise
