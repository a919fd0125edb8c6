"""One date: a job that fires a single time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from celery_legion.clock import EPOCH, MILLISECOND
from celery_legion.triggers.zones import in_utc


@dataclass(frozen=True, slots=True)
class Once:
    """Fires at ``moment`` (aware; kept in UTC, cut to the millisecond), and never again."""

    moment: datetime

    def __post_init__(self) -> None:
        moment = in_utc(self.moment)
        object.__setattr__(self, "moment", moment - (moment - EPOCH) % MILLISECOND)

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the one fire if it is strictly later than *moment*."""
        return self.moment if self.moment > in_utc(moment) else None

    def anchored(self, moment: datetime) -> Once:
        """Return this trigger: its moment is fixed."""
        return self
