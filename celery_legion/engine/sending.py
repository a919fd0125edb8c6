"""Sending: made messages on one producer's channel, and whose fault it is when one does not get through."""

from __future__ import annotations

from typing import Any

from amqp import Message as AmqpMessage
from amqp.serialization import dumps as amqp_dumps
from kombu.exceptions import KombuError, OperationalError
from kombu.utils import json as kombu_json

from celery_legion.engine.bounds import AMQP
from celery_legion.engine.dispatch import Draft

json: Any = kombu_json

CHOOSY = ("direct", "topic")
"""Exchanges that drop what they have no queue for."""

REFUSED_QUEUE = ("WRONGTYPE", "NOPERM", "Invalid input")
"""How Redis begins what it says of one queue or message; all else that it refuses, it refuses everyone."""


class UnroutableError(Exception):
    """No queue is bound where a message went; the broker has dropped it."""

    def __init__(self, exchange: str, routing_key: str) -> None:
        super().__init__(exchange, routing_key)
        self.exchange, self.routing_key = exchange, routing_key

    def __str__(self) -> str:
        where = f"exchange {self.exchange!r}" if self.exchange else "the nameless exchange"
        return f"no queue is bound to {where} with routing key {self.routing_key!r}; declare one in task_queues"


class Sending:
    """Sends drafts through *producer*, whose *connection* the engine holds; each confirmation takes *timeout* at most.

    A message that reaches no queue is no success: AMQP brokers return it, others are asked.
    """

    def __init__(self, producer: Any, connection: Any, timeout: float) -> None:
        self.producer = producer
        self._connection = connection
        self._timeout = timeout
        self._driver = str(connection.transport.driver_type)
        self._returned: list[Any] = []
        self._returns = self._driver in AMQP and hasattr(producer.channel, "events")
        if self._returns:
            producer.channel.events["basic_return"].add(self._note_return)

    def send(self, draft: Draft) -> None:
        """Send one message, as often as its queue had to be declared again first.

        Raises:
            UnroutableError: No queue is bound there.
            Exception: Whatever the transport raises; :meth:`blames_broker` says whose it is.
        """
        # A producer whose transport knows no time-outs has a thread for them.
        run = getattr(self.producer, "run", None)
        if run is None:
            self._send(draft)
        else:
            run(self._send, draft)

    def _send(self, draft: Draft) -> None:
        if self._publish(draft):
            return
        # Somebody has deleted a queue that this connection knows as declared: one with x-expires ends by itself.
        for entity in draft.declare:
            entity.bind(self.producer.channel).declare()
        if not draft.declare or not self._publish(draft):
            raise UnroutableError(draft.exchange, draft.routing_key)

    def _publish(self, draft: Draft) -> bool:
        # The engine has retries of its own.
        fields = {**draft.fields, "retry": False, "retry_policy": None}
        if self._driver in AMQP:
            fields["confirm_timeout"] = fields.get("confirm_timeout") or self._timeout
            # Events go where nobody may listen.
            fields["mandatory"] = fields["mandatory"] or (self._returns and draft.task_id is not None)
        elif draft.task_id is not None and draft.exchange and not self._is_routed(draft):
            return False
        self._returned.clear()
        self.producer._publish(**fields)
        return not self._returned

    def _is_routed(self, draft: Draft) -> bool:
        """Whether a transport without returned messages has a queue for this one."""
        channel = self.producer.channel
        if not hasattr(channel, "_lookup") or not hasattr(channel, "typeof"):
            return True
        for entity in draft.declare:
            self.producer.maybe_declare(entity)
        if channel.typeof(draft.exchange).type not in CHOOSY:
            return True
        return bool(channel._lookup(draft.exchange, draft.routing_key))

    @property
    def held(self) -> int:
        """How many commands the producer's batch holds, 0 if it does not say."""
        return int(getattr(self._session, "_buffered", 0))

    def flush(self) -> list[Any]:
        """Send what the producer's batch holds, and return the server's answer to each command; some are exceptions.

        Kombu raises the first of them, and does not say which of the others arrived. Where its batches are others than
        we know, nothing is done, and it flushes by itself.
        """
        session = self._session
        if not self.held or not hasattr(session, "pipeline"):
            return []
        answers: list[Any] = session.pipeline.execute(raise_on_error=False)
        session._buffered = 0
        return answers

    @property
    def _session(self) -> Any:
        state = getattr(getattr(self.producer, "_batch_local", None), "current", None)
        return getattr(state, "session", None)

    def _note_return(self, exc: Any, exchange: str, routing_key: str, message: Any) -> None:
        # Raised here, the confirmation that follows would be taken for the next message's.
        self._returned.append(exc)

    def blames_broker(self, exc: BaseException | None, draft: Draft | None = None) -> bool:
        """Return whether *exc* is the broker's or the connection's failure, and not that of the one message."""
        connection = self._connection
        if isinstance(exc, UnroutableError):
            return False
        if isinstance(exc, tuple(connection.channel_errors)):
            return self._driver == "redis" and not _refuses_one(str(exc))
        general = (OSError, OperationalError, *connection.connection_errors)
        if isinstance(exc, general) or (isinstance(exc, KombuError) and type(exc).__name__ == "BatchPublishError"):
            return draft is None or self._can_be_written(draft)
        # When the line is lost, py-amqp sometimes trips over its own remains.
        return self._driver in AMQP and not connection.connected

    def closes_channel(self, exc: BaseException) -> bool:
        """Return whether the broker has closed the channel for this one message."""
        return self._driver in AMQP and isinstance(exc, tuple(self._connection.channel_errors))

    def _can_be_written(self, draft: Draft) -> bool:
        """Whether the client can write the message at all; some say that it cannot in a connection's words."""
        fields = draft.fields
        try:
            if self._driver in AMQP:
                message = AmqpMessage(b"", application_headers=fields["headers"], **fields["properties"])
                message._serialize_properties()
                amqp_dumps("ss", (draft.exchange, draft.routing_key))
            else:
                json.dumps((fields["headers"], fields["properties"]))
        except Exception:
            return False
        return True


def _refuses_one(text: str) -> bool:
    """Whether an answer of Redis is about one queue; in a pipeline it names the command first."""
    return text.rpartition("caused error: ")[2].startswith(REFUSED_QUEUE)
