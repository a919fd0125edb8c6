"""Time zones: look-up by name, and where wall clocks are missing or doubled."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from celery_legion.triggers.errors import TriggerError, UnknownZoneError
from celery_legion.triggers.zone_object import find_zone

SECOND = timedelta(seconds=1)


def get_zone(name: str) -> ZoneInfo:
    """Return the zone of an IANA *name*, or of a name that a time zone object without one goes by.

    Raises:
        UnknownZoneError: There is none; with the closest name.
    """
    try:
        if isinstance(name, str) and (made := find_zone(name)) is not None:
            return made
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError):
        known = {zone.casefold(): zone for zone in available_timezones()}
        close = get_close_matches(str(name).casefold(), known, n=1, cutoff=0.6)
        raise UnknownZoneError(str(name), known[close[0]] if close else None) from None


def in_utc(moment: datetime) -> datetime:
    """Return an aware *moment* in UTC; raises ``TriggerError`` for a naive one or one outside of UTC's calendar."""
    try:
        if moment.utcoffset() is None:
            raise TriggerError(f"moment {moment.isoformat()}", "has no time zone", "pass an aware datetime")
        return moment.astimezone(UTC)
    except OverflowError:
        shown = moment.replace(tzinfo=None).isoformat()
        raise TriggerError(f"moment {shown}", "lies outside of the calendar", "use years from 2 to 9998") from None


@dataclass(frozen=True, slots=True)
class Shift:
    """A change of a zone's offset: a gap when clocks go forward, an overlap when they go back.

    ``at`` is the instant of the change, in UTC; ``before`` and ``after`` are the offsets.
    """

    at: datetime
    before: timedelta
    after: timedelta

    @property
    def is_gap(self) -> bool:
        """Whether wall clocks are missing (and not doubled)."""
        return self.after > self.before

    @property
    def size(self) -> timedelta:
        """How much wall clock is missing or doubled."""
        return abs(self.after - self.before)

    @property
    def wall_start(self) -> datetime:
        """The first wall clock, naive, that is missing or doubled."""
        return self.at.replace(tzinfo=None) + min(self.before, self.after)

    @property
    def wall_end(self) -> datetime:
        """The first wall clock, naive, after those that are missing or doubled."""
        return self.at.replace(tzinfo=None) + max(self.before, self.after)


def offsets(wall: datetime, zone: ZoneInfo) -> tuple[timedelta, timedelta]:
    """Return the offsets that a naive *wall* clock has under fold 0 and fold 1.

    They differ only within a shift, and are then those before and after it (PEP 495).
    """
    return _offset(wall.replace(tzinfo=zone, fold=0)), _offset(wall.replace(tzinfo=zone, fold=1))


def find_shift(wall: datetime, zone: ZoneInfo) -> Shift | None:
    """Return the shift by which a naive *wall* clock is missing or doubled, or None."""
    before, after = offsets(wall, zone)
    if before == after:
        return None
    # Read with either offset, the wall clock gives an instant on each side of the change.
    low, high = sorted((to_instant(wall, before), to_instant(wall, after)))
    while high - low > SECOND:
        middle = low + timedelta(seconds=(high - low) // SECOND // 2)
        if _offset(middle.astimezone(zone)) == before:
            low = middle
        else:
            high = middle
    return Shift(high, before, after)


def to_instant(wall: datetime, offset: timedelta) -> datetime:
    """Return the UTC instant at which a naive *wall* clock is read under *offset*."""
    return (wall - offset).replace(tzinfo=UTC)


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """Return the first instant, in UTC, at which the zone's calendar shows *day* or a later day."""
    midnight = datetime.combine(day, time())
    shift = find_shift(midnight, zone)
    if shift is not None and shift.is_gap:
        return shift.at
    return to_instant(midnight, offsets(midnight, zone)[0])


def _offset(moment: datetime) -> timedelta:
    offset = moment.utcoffset()
    assert offset is not None, "the moments of this module carry a zone"
    return offset
