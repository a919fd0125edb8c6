"""Intervals: a grid of equal spans from an anchor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from celery_legion.clock import EPOCH, MILLISECOND
from celery_legion.triggers.errors import TriggerError
from celery_legion.triggers.zones import in_utc


@dataclass(frozen=True, slots=True)
class Interval:
    """Fires at ``anchor`` and every ``every`` after it, in real time.

    An anchor in the future is the first fire. Without an anchor the grid is that of
    1970-01-01 UTC, so that an interval of a day fires at midnight UTC. Arithmetic is
    in whole numbers and never drifts; an anchor is cut to the millisecond.
    """

    every: timedelta
    anchor: datetime | None = None

    def __post_init__(self) -> None:
        if self.every < MILLISECOND or self.every % MILLISECOND:
            raise TriggerError(
                f"interval of {self.every / timedelta(seconds=1):g} s",
                "is not a positive number of whole milliseconds",
                "use at least timedelta(milliseconds=1)",
            )
        if self.anchor is not None:
            anchor = in_utc(self.anchor)
            object.__setattr__(self, "anchor", anchor - (anchor - EPOCH) % MILLISECOND)

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first point of the grid strictly later than *moment*; None beyond the year 9999."""
        moment = in_utc(moment)
        if self.anchor is not None and moment < self.anchor:
            return self.anchor
        start = self.anchor or EPOCH
        try:
            return start + self.every * ((moment - start) // self.every + 1)
        except OverflowError:
            return None

    def anchored(self, moment: datetime) -> Interval:
        """Return the interval that starts at *moment*, or this one if it has an anchor."""
        return self if self.anchor is not None else replace(self, anchor=moment)
