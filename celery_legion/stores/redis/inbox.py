"""The inbox of the Redis driver: pushes as they lie there, also those of other programs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from celery_legion.clock import from_ms
from celery_legion.stores.base import Aside, Request
from celery_legion.stores.data import ASIDE_LIMIT, BODY_KEPT
from celery_legion.stores.redis.connection import Connection


class Inbox:
    """Each push is a text: its id, a space, and its body.

    One that another program has pushed as bare JSON is brought into that form by whoever reads it first.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._taken: dict[str, list[str]] = {}

    def push(self, request: Request) -> None:
        """See :meth:`.InboxStore.push`."""
        self.connection.run("push", (f"{request.id} {request.body}",))

    def requests(self, limit: int) -> list[Request]:
        """See :meth:`.InboxStore.requests`."""
        return self._read_inbox(self.connection.run("requests", (limit,))) if limit > 0 else []

    def ack(self, ids: Sequence[str]) -> None:
        """See :meth:`.InboxStore.ack`."""
        texts = [text for run_id in ids for text in self._taken.pop(run_id, ())]
        if texts:
            self.connection.run("ack", texts)

    def put_aside(self, request_id: str, why: str) -> bool:
        """See :meth:`.InboxStore.put_aside`."""
        moved = False
        for text in self._taken.pop(request_id, ()):
            body = _read(text).body[:BODY_KEPT]
            aside = json.dumps({"id": request_id, "body": body, "why": why})
            moved = bool(self.connection.run("put_aside", (text, aside, ASIDE_LIMIT))) or moved
        return moved

    def asides(self, limit: int) -> list[Aside]:
        """See :meth:`.InboxStore.asides`."""
        return [_read_aside(text) for text in self.connection.run("asides", (limit,))] if limit > 0 else []

    def _read_inbox(self, texts: Sequence[str]) -> list[Request]:
        """Return the requests, and remember as what they lie there."""
        requests = [_read(text) for text in texts]
        self._taken = {}
        for request, text in zip(requests, texts, strict=True):
            self._taken.setdefault(request.id, []).append(text)
        return requests


def _read(text: str) -> Request:
    request_id, _, body = text.partition(" ")
    return Request(id=request_id, body=body)


def _read_aside(text: str) -> Aside:
    at, _, rest = text.partition(" ")
    data = json.loads(rest)
    return Aside(request=Request(id=data["id"], body=data["body"]), why=data["why"], at=from_ms(int(at)))
