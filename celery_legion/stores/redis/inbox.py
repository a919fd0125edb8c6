"""The inbox of the Redis driver: pushes as they lie there, also those of other programs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from celery_legion.clock import from_ms
from celery_legion.stores.base import Aside, Request
from celery_legion.stores.data import BODY_KEPT
from celery_legion.stores.redis.connection import Connection
from celery_legion.stores.redis.unreadable import readable, text_of

SEPARATOR = "\x1f"
"""Between id and body: JSON text holds no such character."""


class Inbox:
    """Each push is a text: its id, a unit separator, and its body.

    One that another program has pushed as bare JSON is brought into that form by whoever reads it first.
    """

    connection: Connection

    def push(self, request: Request) -> None:
        """See :meth:`.InboxStore.push`."""
        self.connection.run("push", (f"{request.id}{SEPARATOR}{request.body}",))

    def requests(self, limit: int) -> list[Request]:
        """See :meth:`.InboxStore.requests`."""
        return [read_request(text) for text in self.connection.run("requests", (limit,))] if limit > 0 else []

    def ack(self, ids: Sequence[str]) -> None:
        """See :meth:`.InboxStore.ack`."""
        if ids:
            self.connection.run("ack", ids)

    def put_aside(self, request_id: str, why: str) -> bool:
        """See :meth:`.InboxStore.put_aside`."""
        return bool(self.connection.run("put_aside", (request_id, why[:BODY_KEPT])))

    def asides(self, limit: int) -> list[Aside]:
        """See :meth:`.InboxStore.asides`."""
        if limit <= 0:
            return []
        key = f"{self.connection.base}aside"
        found = (readable(key, "", _read_aside, text) for text in self.connection.run("asides", (limit,)))
        return [aside for aside in found if aside is not None]


def read_request(text: str) -> Request:
    """Return a request as a script has read it from the inbox."""
    request_id, _, body = text.partition(SEPARATOR)
    return Request(id=request_id, body=body)


def _read_aside(text: str) -> Aside:
    at, request_id, body, why = json.loads(text)
    request = Request(id=text_of(request_id), body=text_of(body)[:BODY_KEPT])
    return Aside(request=request, why=text_of(why), at=from_ms(int(at)))
