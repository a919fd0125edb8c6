"""An inbox on a real server, as the store reads it and as others push into it."""

from __future__ import annotations

import re
from datetime import timedelta
from uuid import uuid4

import pytest
from redis import Redis

from celery_legion.stores import open_store
from celery_legion.stores.base import Request, SchedulerInfo, Store, StoreOptions

LONG = timedelta(hours=1)
INFO = SchedulerInfo(app="shop", fingerprint="print", host="alpha", pid=1)
NEW_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
BARE = b'{"job":"report"}'
MEGABYTE = 1024 * 1024


class Inbox:
    """One app's inbox: the store that reads it, and the list as others push into it."""

    def __init__(self, url: str) -> None:
        prefix = f"test:{uuid4().hex}"
        self._options = StoreOptions(url=url, prefix=prefix)
        self._opened: list[Store] = []
        self._client = Redis.from_url(url)
        self._key = f"{{{prefix}}}:inbox"
        self.store = self.another()

    def another(self) -> Store:
        """Return one more store on the same inbox, as another process has it."""
        self._opened.append(open_store(self._options))
        return self._opened[-1]

    def push(self, *texts: bytes) -> None:
        for text in texts:
            self._client.lpush(self._key, text)

    def lies(self) -> list[bytes]:
        """Return what lies in the list, oldest first."""
        return [text for text in self._client.lrange(self._key, 0, -1)[::-1] if isinstance(text, bytes)]

    def read(self) -> list[Request]:
        return self.store.requests(1000)

    def only(self) -> Request:
        (request,) = self.read()
        return request

    def close(self) -> None:
        for store in self._opened:
            store.close()
        self._client.close()


def pulse(store: Store, owner: str, limit: int = 100) -> list[Request]:
    return list(store.pulse(owner, LONG, 0, limit, INFO).requests)


def acknowledge(store: Store, run_id: str) -> None:
    store.ack([run_id])


def put_aside(store: Store, run_id: str) -> None:
    assert store.put_aside(run_id, "bad") is True


AWAY = pytest.mark.parametrize("take_out", [acknowledge, put_aside])
