"""Servers: the brokers that a setting names, and which of them is tried next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from celery_legion.url import safe_url

SENTINEL = "sentinel"


def place_of(app: Any) -> str:
    """Return where an app sends what has no other route: its default queue at its broker, without user and password."""
    return f"queue {app.conf.task_default_queue} at {', '.join(map(_without_user, _urls(app)))}"


def broker_warnings(app: Any) -> list[str]:
    """Return what is wrong with an app's broker, one line each."""
    if any(url.startswith("memory:") for url in _urls(app)):
        return ["the broker is this process's memory: no worker in another process gets what is sent; set broker_url"]
    return []


def _urls(app: Any) -> list[str]:
    broker = app.conf.broker_write_url or "amqp://"
    texts = broker.split(";") if isinstance(broker, str) else broker
    return [url for text in texts if (url := str(text).strip())]


def _without_user(url: str) -> str:
    scheme, mark, rest = safe_url(url).partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{mark}{place.rpartition('@')[2]}{slash}{path}"


class Servers:
    """Goes round the alternates of ``broker_url`` by the app's own ``broker_failover_strategy``.

    Sentinels are one server: their client needs the whole list, and goes round in it by itself.
    """

    def __init__(self, app: Any) -> None:
        connection = app.connection_for_write()
        # A semicolon at an end names no other server.
        urls = [url for url in map(str.strip, map(str, connection.alt)) if url]
        self._whole = ", ".join(map(safe_url, urls)) or str(connection.as_uri())
        self.sentinels = len(urls) or 1 if connection.transport_cls == SENTINEL else 0
        self._urls: list[str] = [] if self.sentinels or len(urls) < 2 else urls
        self._strategy: Callable[[list[str]], Iterable[str]] = connection.failover_strategy if self._urls else iter
        self._cycle = self._begin()
        # The first one is what is tried first.
        next(self._cycle, None)
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
        if not self._urls:
            return
        following = next(self._cycle, None)
        if following is None:
            # A strategy of the user's may come to an end.
            self._cycle = self._begin()
            following = next(self._cycle, self._urls[0])
        self.current = following

    def _begin(self) -> Iterator[str]:
        return iter(self._strategy(list(self._urls)))

    @property
    def name(self) -> str:
        """The current one's URL without its password."""
        return self._whole if self.current is None else safe_url(self.current)

    @property
    def names(self) -> str:
        """All their URLs without passwords."""
        return self._whole
