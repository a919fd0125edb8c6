"""Restrictions: another trigger's fires on some weekdays only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from celery_legion.triggers.asked import check_ahead
from celery_legion.triggers.base import Trigger
from celery_legion.triggers.errors import TriggerError
from celery_legion.triggers.zones import get_zone, in_utc, start_of_day

TRY_LIMIT = 1000
"""How many runs of forbidden days in a row a search skips before it takes the answer for never."""

TICK = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Restricted:
    """Fires when ``trigger`` does, if the local weekday is one of ``weekdays`` (0 = Monday … 6 = Sunday)."""

    trigger: Trigger
    weekdays: frozenset[int]
    timezone: str = "UTC"
    zone: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_ahead(self.trigger, "restricted to weekdays")
        object.__setattr__(self, "weekdays", frozenset(self.weekdays))
        object.__setattr__(self, "zone", get_zone(self.timezone))
        if not self.weekdays or not self.weekdays <= set(range(7)):
            raise TriggerError(
                f"weekdays {sorted(self.weekdays)}", "are no days of a week", "use numbers from 0, Monday, to 6, Sunday"
            )

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first allowed fire strictly later than *moment*.

        None when the trigger ends, misses the allowed days 1,000 times in a row, or leaves the zone's calendar.
        """
        try:
            return self._first_allowed(in_utc(moment))
        except OverflowError:
            return None

    def _first_allowed(self, start: datetime) -> datetime | None:
        for _ in range(TRY_LIMIT):
            fire = self.trigger.next_after(start)
            if fire is None:
                return None
            today = fire.astimezone(self.zone).date()
            ahead = next(days for days in range(7) if (today.weekday() + days) % 7 in self.weekdays)
            if not ahead:
                return fire
            start = max(fire, start_of_day(today + timedelta(days=ahead), self.zone) - TICK)
        return None

    def anchored(self, moment: datetime) -> Restricted:
        """Return the restriction of its trigger anchored at *moment*."""
        trigger = self.trigger.anchored(moment)
        return self if trigger == self.trigger else replace(self, trigger=trigger)
