"""Reading ``legion history --json``: which fires it accounts for, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any


def timestamp(text: str) -> float:
    """Return an instant of the JSON as seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()


def accounted(records: Iterable[Mapping[str, Any]], every: int) -> Counter[int]:
    """Count, for a job that fires each *every* seconds, how often each fire is accounted for.

    A record of several consecutive fires stands for each from its first to its last; its own count must agree.
    """
    counts: Counter[int] = Counter()
    for record in records:
        first, last = round(timestamp(record["fire_time"])), round(timestamp(record["last_fire_time"]))
        fires = range(first, last + 1, every)
        assert len(fires) == record["count"], record
        counts.update(fires)
    return counts


def assert_each_once(records: Iterable[Mapping[str, Any]], every: int) -> list[int]:
    """Every fire from the first to the last is in exactly one record; return the fires."""
    counts = accounted(records, every)
    expected = range(min(counts), max(counts) + 1, every)
    assert counts == Counter(expected), {at: count for at, count in counts.items() if count != 1}
    return list(expected)
