"""The connection to a Redis or Valkey server: bounded, and safe across forks and signal handlers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    NoPermissionError,
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
from celery_legion.stores.redis.channel import Channel
from celery_legion.url import safe_url

SILENT = (ConnectionError, TimeoutError, BusyLoadingError, ReadOnlyError, OSError)

SETTING = "the store's URL (legion_store_url, else the broker's)"

OBJECTS = frozenset(
    {"command_packer", "event_dispatcher", "redis_connect_func", "retry", "socket_keepalive_options", "socket_type"}
)
POSITIVE = ("socket_timeout", "socket_connect_timeout", "socket_read_size")
"""What redis-py looks at when it connects: options that no text can be, and numbers that must be in bounds."""

MOST = 10**9


class Connection:
    """Runs the verbs' scripts on one server, within the options' timeout.

    The pool is redis-py's default one: it may be entered again from a signal handler,
    which a blocking pool may not.
    """

    def __init__(self, options: StoreOptions) -> None:
        self.options = options
        self.base = f"{options.prefix}:" if "{" in options.prefix else f"{{{options.prefix}}}:"
        self.name = safe_url(options.url)
        self._client: Any = None
        self.wake = Channel(f"{self.base}wake", lambda: self.client)
        self.hurry = Channel(f"{self.base}hurry", lambda: self.client)
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
            if not all(0 <= options.get(name, 0) <= MOST for name in POSITIVE):
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
            remedy = self._permission() if _is_forbidden(exc) else ""
            raise StoreError(f"the store {self.name} refused {verb}: {exc}{remedy}") from exc
        except RedisError as exc:
            raise self.unavailable(exc) from exc

    def command(self, *args: str | int) -> Any:
        """Run one plain command, with the same errors as :meth:`run`."""
        try:
            return self.client.execute_command(*args)
        except SILENT as exc:
            raise self.unavailable(exc) from exc
        except RedisError as exc:
            remedy = self._permission() if _is_forbidden(exc) and args[0] == "PUBLISH" else ""
            raise StoreError(f"the store {self.name} refused {args[0]}: {exc}{remedy}") from exc

    def _permission(self) -> str:
        """Say what this server's user must be allowed."""
        return (
            f"; allow its user '~{self.base}*' '&{self.base}*' and the commands of docs/security.md by ACL SETUSER, or "
            "give legion_key_prefix a hash tag of its own behind what the user may reach, such as 'shop:{legion}'"
        )

    def setting(self, name: str) -> str:
        """Return one of the server's settings, empty if it has none of that name."""
        flat = self.command("CONFIG", "GET", name)
        return str(flat[1]) if len(flat) > 1 else ""

    def unavailable(self, exc: BaseException) -> StoreUnavailableError:
        """Return the error of the contract for one of the driver's."""
        return StoreUnavailableError(self.name, str(exc) or type(exc).__name__)

    def publish(self, channel: Channel, text: str) -> None:
        """Publish on one of this store's channels."""
        self.command("PUBLISH", channel.name, text)

    def forget(self) -> None:
        """Drop pool and subscriptions without talking on them."""
        self._client = None
        self.wake.forget()
        self.hurry.forget()

    def close(self) -> None:
        """Close what is open."""
        client, self._client = self._client, None
        self.wake.close()
        self.hurry.close()
        try:
            if client is not None:
                client.connection_pool.disconnect()
        except (RedisError, OSError):
            pass


def _is_forbidden(exc: RedisError) -> bool:
    """Whether a server's user may not do that: by itself, or within a script."""
    return isinstance(exc, NoPermissionError) or "ACL failure in script" in str(exc) or "NOPERM" in str(exc)
