"""The connection to a Redis or Valkey server: bounded, and safe across forks and signal handlers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.client import PubSub
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

from celery_legion.errors import ConfigurationError, StoreError, StoreUnavailableError
from celery_legion.stores.base import StoreOptions
from celery_legion.stores.redis import scripts
from celery_legion.stores.redis.address import Address, AddressError
from celery_legion.url import safe_url

SILENT = (ConnectionError, TimeoutError, BusyLoadingError, ReadOnlyError, OSError)

SETTING = "the store's URL (legion_store_url, else the broker's)"

OBJECTS = frozenset(
    {"command_packer", "event_dispatcher", "redis_connect_func", "retry", "socket_keepalive_options", "socket_type"}
)
POSITIVE = ("socket_timeout", "socket_connect_timeout", "socket_read_size")
"""What redis-py looks at when it connects: options that no text can be, and numbers that must not be below zero."""


class Connection:
    """Runs the verbs' scripts on one server, within the options' timeout.

    The pool is redis-py's default one: it may be entered again from a signal handler,
    which a blocking pool may not.
    """

    def __init__(self, options: StoreOptions) -> None:
        self.options = options
        self.base = f"{{{options.prefix}}}:"
        self.name = safe_url(options.url)
        self._client: Any = None
        self._pubsub: PubSub | None = None
        self._check()

    def _check(self) -> None:
        """Make a connection of the options without opening it: redis-py looks at most of a URL's only then.

        Raises:
            ConfigurationError: The URL has an option that redis-py does not take, or not with its value.
        """
        try:
            self._address = Address.of(self.options.url)
            pool = self._new_pool()
            options = pool.connection_kwargs
            pool.connection_class(**options).encoder.encode("text")
            if any(isinstance(options.get(name), str) for name in OBJECTS):
                raise TypeError
            if any(options.get(name, 0) < 0 for name in POSITIVE):
                raise ValueError
        except AddressError as exc:
            raise ConfigurationError(SETTING, f"a URL that can be used ({exc})", self.name) from None
        except (TypeError, ValueError, LookupError, AttributeError, RedisError):
            # The error's own text may show a value, which may be a password at a wrong place.
            expected = "a URL with no options but those of redis-py's Connection, each with a value that it takes"
            raise ConfigurationError(SETTING, expected, self.name) from None

    @property
    def client(self) -> Any:
        """A client on this process's pool. It holds nothing of a call, so threads and handlers share it."""
        client = self._client
        if client is None:
            # Made once: making one takes longer than many a call.
            client = self._client = Redis(connection_pool=self._new_pool())
        return client

    def _new_pool(self) -> ConnectionPool:
        address = self._address
        seconds = self.options.timeout.total_seconds()
        # One retry, and only for a connection that broke: a pooled one may be older than the
        # server's last restart. A server that is silent has had its time.
        return ConnectionPool.from_url(
            address.url,
            decode_responses=True,
            encoding_errors="replace",
            protocol=2,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
            **({} if address.is_socket else {"socket_keepalive": True}),
            **address.options,
        )

    def run(self, verb: str, args: Sequence[str | int]) -> Any:
        """Run the script of *verb*.

        Raises:
            StoreUnavailableError: No answer in time; whether it took effect is unknown.
            StoreError: The server refused.
        """
        client = self.client
        try:
            try:
                return client.evalsha(scripts.digest(verb), 1, self.base, *args)
            except NoScriptError:
                return client.eval(scripts.source(verb), 1, self.base, *args)
        except SILENT as exc:
            if isinstance(exc, ReadOnlyError):
                # The server has become a replica: its name may lead to another one by now.
                client.connection_pool.disconnect()
            raise self.unavailable(exc) from exc
        except ResponseError as exc:
            raise StoreError(f"the store {self.name} refused {verb}: {exc}") from exc
        except RedisError as exc:
            raise self.unavailable(exc) from exc

    def command(self, *args: str | int) -> Any:
        """Run one plain command, with the same errors as :meth:`run`."""
        try:
            return self.client.execute_command(*args)
        except SILENT as exc:
            raise self.unavailable(exc) from exc
        except RedisError as exc:
            raise StoreError(f"the store {self.name} refused {args[0]}: {exc}") from exc

    def setting(self, name: str) -> str:
        """Return one of the server's settings, empty if it has none of that name."""
        flat = self.command("CONFIG", "GET", name)
        return str(flat[1]) if len(flat) > 1 else ""

    def unavailable(self, exc: BaseException) -> StoreUnavailableError:
        """Return the error of the contract for one of the driver's."""
        return StoreUnavailableError(self.name, str(exc) or type(exc).__name__)

    def nudge(self) -> None:
        """Publish on the waking channel."""
        self.command("PUBLISH", f"{self.base}wake", "wake")

    def listen(self, timeout: timedelta) -> bool:
        """Block until something is published on the waking channel, or for *timeout*.

        A channel that cannot be listened to is slept out, so that a broken one never makes a loop spin.
        """
        deadline = time.monotonic() + timeout.total_seconds()
        try:
            pubsub = self._pubsub
            if pubsub is None:
                pubsub = self._pubsub = self.client.pubsub()
                pubsub.subscribe(f"{self.base}wake")
            while (left := deadline - time.monotonic()) > 0:
                message = pubsub.get_message(timeout=left)
                if message is not None and message["type"] == "message":
                    while pubsub.get_message(timeout=0.0) is not None:
                        pass
                    return True
            return False
        except (RedisError, OSError):
            self._pubsub = None
            time.sleep(max(0.0, deadline - time.monotonic()))
            return False

    def forget(self) -> None:
        """Drop pool and subscription without talking on them."""
        self._client = None
        self._pubsub = None

    def close(self) -> None:
        """Close what is open."""
        client, pubsub = self._client, self._pubsub
        self.forget()
        try:
            if pubsub is not None:
                pubsub.close()
            if client is not None:
                client.connection_pool.disconnect()
        except (RedisError, OSError):
            pass
