"""The message header that tells a worker which run a message belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from celery_legion.clock import from_ms, span_ms, to_ms
from celery_legion.config import is_prefix
from celery_legion.errors import LegionError
from celery_legion.run import Kind, State

KEY = "legion"
"""The header's name. A message without it never touches the store."""

SENT = "legion_sent"
"""The name of the header that every message of a scheduler of ours carries, also one that stands for no run."""

VERSION = 1

HIGHEST_LIMIT = 1_000_000
LONGEST_TTL = span_ms(timedelta(days=36_500))
"""A century: with more, moments leave the calendar and the whole numbers that a store can count in."""


class HeaderError(LegionError, ValueError):
    """A message carries a legion header that cannot be read; nothing of it may be executed."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"the message's legion header is not valid: {self.problem}; another version or program has sent it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Job, fire and lock of a message's run; all that a worker needs to ask for its begin.

    ``owes`` are the endings that the job had hooks for when it was sent, ``prefix`` is the key prefix that the store
    knows the run under; None in a message of a scheduler that did not say so yet.
    """

    job: str
    fire_time: datetime
    kind: Kind
    lock: str
    limit: int
    lock_ttl: timedelta
    owes: frozenset[State] = frozenset()
    prefix: str | None = None

    def dump(self) -> dict[str, Any]:
        """Return the header as JSON-ready data."""
        owes = {"owes": sorted(state.value for state in self.owes)} if self.owes else {}
        return {
            "v": VERSION,
            "job": self.job,
            "fire": to_ms(self.fire_time),
            "kind": self.kind.value,
            "lock": self.lock,
            "limit": self.limit,
            "ttl": span_ms(self.lock_ttl),
            **owes,
            **({} if self.prefix is None else {"prefix": self.prefix}),
        }

    @classmethod
    def load(cls, data: object) -> Header:
        """Read a header from a message, trusting nothing of it.

        Raises:
            HeaderError: It is no mapping, of an unknown version, or a field is missing or of a wrong type.
        """
        if not isinstance(data, Mapping):
            raise HeaderError("it is no mapping")
        version = data.get("v")
        if type(version) is not int or version != VERSION:
            raise HeaderError(f"version {version!r} is unknown")
        job, lock = data.get("job"), data.get("lock")
        if not isinstance(job, str) or not isinstance(lock, str):
            raise HeaderError("job and lock must be strings")
        fire, limit, ttl = (_integer(data, key) for key in ("fire", "limit", "ttl"))
        if limit > HIGHEST_LIMIT or ttl > LONGEST_TTL:
            raise HeaderError(f"limit {limit} or ttl {ttl} is beyond all measure")
        prefix = data.get("prefix")
        if prefix is not None and not is_prefix(prefix):
            raise HeaderError("its prefix can be none of a key")
        try:
            kind = Kind(str(data.get("kind")))
            owes = frozenset(State(str(state)) for state in _list(data, "owes"))
            return cls(
                job=job,
                fire_time=from_ms(fire),
                kind=kind,
                lock=lock,
                limit=limit,
                lock_ttl=timedelta(milliseconds=ttl),
                owes=owes,
                prefix=prefix,
            )
        except (ValueError, OverflowError) as exc:
            raise HeaderError(str(exc)) from exc


def _list(data: Mapping[str, Any], key: str) -> list[Any]:
    value = data.get(key, [])
    if not isinstance(value, list):
        raise HeaderError(f"{key} must be a list")
    return value


def _integer(data: Mapping[str, Any], key: str) -> int:
    value = data.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise HeaderError(f"{key} must be a non-negative integer")
    return value
