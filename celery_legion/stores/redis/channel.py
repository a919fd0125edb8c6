"""A channel of the store's server: nudges, never the data."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from redis.client import PubSub
from redis.exceptions import RedisError

QUIET = 10.0
"""Seconds without a word after which the server is asked whether it is still there."""


class Channel:
    """Listens on one channel, from one thread; *client* makes the client whose pool the subscription is made on."""

    def __init__(self, name: str, client: Callable[[], Any]) -> None:
        self.name = name
        self._client = client
        self._pubsub: PubSub | None = None
        self._heard = 0.0
        self._asked = False

    def listen(self, seconds: float, wanted: Callable[[str], bool] = lambda _: True) -> bool:
        """Block until something that is *wanted* is published, or for *seconds*.

        A channel that cannot be listened to is slept out, so that a broken one never makes a loop spin.
        """
        deadline = time.monotonic() + seconds
        try:
            pubsub = self._subscribe()
            self._ask(pubsub)
            called = False
            while (left := deadline - time.monotonic()) > 0 and not called:
                called = self._read(pubsub, left, wanted)
            # What was published in a row is one nudge.
            while called and pubsub.get_message(timeout=0.0) is not None:
                pass
            return called
        except (RedisError, OSError):
            self._pubsub = None
            time.sleep(max(0.0, deadline - time.monotonic()))
            return False

    def _subscribe(self) -> PubSub:
        if self._asked and time.monotonic() - self._heard > 2 * QUIET:
            # A server that was cut off says nothing, not even that it is gone.
            self.close()
        pubsub = self._pubsub
        if pubsub is None:
            pubsub = self._pubsub = self._client().pubsub()
            pubsub.subscribe(self.name)
            self._heard, self._asked = time.monotonic(), False
        return pubsub

    def _ask(self, pubsub: PubSub) -> None:
        if not self._asked and time.monotonic() - self._heard > QUIET:
            self._asked = True
            pubsub.ping()

    def _read(self, pubsub: PubSub, seconds: float, wanted: Callable[[str], bool]) -> bool:
        message = pubsub.get_message(timeout=seconds)
        if message is None:
            return False
        self._heard, self._asked = time.monotonic(), False
        return message["type"] == "message" and wanted(str(message["data"]))

    def forget(self) -> None:
        """Drop the subscription without talking on it."""
        self._pubsub = None

    def close(self) -> None:
        """Close the subscription."""
        pubsub, self._pubsub = self._pubsub, None
        try:
            if pubsub is not None:
                pubsub.close()
        except (RedisError, OSError):
            pass
