"""Bounds: what keeps each transport's calls from blocking for longer than the scheduler can wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AMQP = ("amqp", "py-amqp")

TIMEOUTS: Mapping[str, tuple[str, ...]] = {
    "redis": ("socket_timeout", "socket_connect_timeout"),
    **dict.fromkeys(AMQP, ("read_timeout", "write_timeout")),
}
"""Kind of transport → its options that bound every call."""

NEVER_BLOCKING = frozenset({"memory"})


def is_bounded(driver: str) -> bool:
    """Return whether options alone bound a transport's calls; with others they have to be made aside."""
    return driver in TIMEOUTS or driver in NEVER_BLOCKING


def transport_options(driver: str, given: Mapping[str, Any] | None, seconds: float) -> dict[str, Any]:
    """Return what is added to the *given* transport options; a user's own shorter bound is kept."""
    given = given or {}
    options: dict[str, Any] = {}
    for name in TIMEOUTS.get(driver, ()):
        value = given.get(name)
        # Neither what is no number, nor one below zero, nor one that no number compares with.
        options[name] = min(value, seconds) if isinstance(value, (int, float)) and value > 0 else seconds
    if driver in AMQP:
        options["confirm_publish"] = True
    return options


def sentinel_options(given: Mapping[str, Any] | None, sentinels: int, seconds: float) -> dict[str, Any]:
    """Return what makes a client ask each of some sentinels once, and go on to the next within its share of time."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    share = seconds / max(1, sentinels)
    # Without a word on it, redis-py asks one that is dead eleven times, with pauses.
    options: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": share,
        "socket_connect_timeout": share,
        **((given or {}).get("sentinel_kwargs") or {}),
    }
    return {"sentinel_kwargs": options}
