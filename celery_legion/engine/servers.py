"""Servers: the brokers that a setting names, and which of them is tried next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celery_legion.url import safe_url

SENTINEL = "sentinel"


class Servers:
    """Goes round the alternates of ``broker_url`` by the app's own ``broker_failover_strategy``.

    Sentinels are one server: their client needs the whole list, and goes round in it by itself.
    """

    def __init__(self, app: Any) -> None:
        connection = app.connection_for_write()
        urls = [str(url) for url in connection.alt]
        self._whole = ", ".join(map(safe_url, urls)) or str(connection.as_uri())
        self.sentinels = len(urls) or 1 if connection.transport_cls == SENTINEL else 0
        self._urls: list[str] = [] if self.sentinels or len(urls) < 2 else urls
        self._cycle: Iterator[str] = connection.cycle if self._urls else iter(())
        self.current: str | None = self._urls[0] if self._urls else None
        """The URL to connect to, None for the one that the app has."""

    @property
    def count(self) -> int:
        """How many servers there are to try."""
        return len(self._urls) or 1

    @property
    def replaceable(self) -> bool:
        """Whether another server takes over when one fails, so that it is worth trying again soon."""
        return bool(self._urls or self.sentinels)

    def turn(self) -> None:
        """Go on to the next one."""
        if self._urls:
            self.current = next(self._cycle)

    @property
    def name(self) -> str:
        """The current one's URL without its password."""
        return self._whole if self.current is None else safe_url(self.current)

    @property
    def names(self) -> str:
        """All their URLs without passwords."""
        return self._whole
