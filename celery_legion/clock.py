"""Time: the wall clock as an argument, and milliseconds at the store's edge."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


class Clock(Protocol):
    """What the engine asks for the time; tests pass one of their own."""

    def now(self) -> datetime:
        """Return the wall clock's moment, aware and in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only grow; for durations."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> datetime:
        """Return the wall clock's moment, aware and in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that only grow; for durations."""
        return time.monotonic()


def to_ms(moment: datetime) -> int:
    """Return *moment* (aware) as whole milliseconds since 1970 UTC, cut, not rounded."""
    return (moment - EPOCH) // MILLISECOND


def from_ms(ms: int) -> datetime:
    """Return the aware UTC moment of *ms* milliseconds since 1970."""
    return EPOCH + timedelta(milliseconds=ms)


def span_ms(span: timedelta) -> int:
    """Return *span* as whole milliseconds."""
    return span // MILLISECOND


def isoformat(moment: datetime | None) -> str | None:
    """Return *moment* as ISO 8601 in UTC with milliseconds and a ``Z``, or None for None."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
