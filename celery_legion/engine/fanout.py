"""Exchanges that give a copy of each message to every worker: one fire is then meant for several executions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def is_fanout(exchange: Any) -> bool:
    """Return whether an exchange, as kombu's object, copies each message to all of its queues."""
    return str(getattr(exchange, "type", "")) == "fanout"


def fanout_of(app: Any, exchange: Any, declared: Sequence[Any] = ()) -> Any:
    """Return the fanout exchange of that name (or object) among what is declared and the app's queues, None if none.

    The nameless exchange puts a message into one queue, whatever that one is bound to.
    """
    name = getattr(exchange, "name", exchange)
    if not name:
        return None
    if is_fanout(exchange):
        return exchange
    found = [getattr(one, "exchange", one) for one in (*declared, *app.amqp.queues.values())]
    return next((one for one in found if is_fanout(one) and one.name == name), None)
