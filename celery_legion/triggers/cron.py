"""Cron: wall-clock times of an expression, and the rule for daylight saving on top."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from celery_legion.triggers.errors import TriggerError
from celery_legion.triggers.pattern import LAST_YEAR, Days, Pattern, Seconds, parse
from celery_legion.triggers.zones import SECOND, find_shift, get_zone, in_utc, offsets, to_instant

Dst = Literal["cron", "skip", "literal"]

CLOCK_CORRECTION = timedelta(hours=3)
"""cron(8): a change larger than this corrects the clock, and missed times are not made up for."""

EARLIEST = datetime(1, 1, 3, tzinfo=UTC)
"""No zone moves a moment from here on out of the calendar."""

GAP_LIMIT = 200
"""How many gaps a search looks past; a job whose every time falls in a gap never fires."""


@dataclass(frozen=True, slots=True)
class Cron:
    """Fires at the wall-clock times of a cron expression in a time zone.

    ``expression`` has five fields (minute, hour, day-of-month, month, day-of-week) or a
    sixth for seconds, which stands ``last`` or ``first`` as ``seconds`` says; aliases
    from ``@hourly`` to ``@yearly`` work. Names, ranges, steps, lists, ``L``, ``W`` and
    ``#`` are croniter's. ``days`` says how two restricted day fields combine:

    - ``vixie``: either may match, but both must when one of them starts with ``*`` (crontab)
    - ``or``: either may match, always
    - ``and``: both must match (Celery's ``crontab``)

    ``dst`` says what a change of the zone's offset does:

    - ``cron``: as cron(8) promises. A job with ``*`` at the start of its minute or hour
      field follows real time: it fires at each instant whose wall clock matches, in both
      passes of an overlap, and not for times in a gap. Any other job is bound to its times
      of day: those in a gap of at most 3 h give one fire at the gap's end, those in an
      overlap fire in its first pass only. Longer gaps drop their times.
    - ``skip``: the same, but a gap of any length drops its times
    - ``literal``: every job follows real time

    Raises ``TriggerError`` when built from an expression that is wrong, that never matches
    a date, or whose days croniter would take for others than it says.
    """

    expression: str
    timezone: str = "UTC"
    _: KW_ONLY
    seconds: Seconds = "last"
    days: Days = "vixie"
    dst: Dst = "cron"
    pattern: Pattern = field(init=False, repr=False, compare=False)
    zone: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, value, known in (
            ("seconds", self.seconds, get_args(Seconds)),
            ("days", self.days, get_args(Days)),
            ("dst", self.dst, get_args(Dst)),
        ):
            if value not in known:
                raise TriggerError(f"{name}={value!r}", "is unknown to cron", f"use one of {', '.join(known)}")
        object.__setattr__(self, "pattern", parse(self.expression, self.seconds, self.days))
        object.__setattr__(self, "zone", get_zone(self.timezone))

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first fire strictly later than *moment*, in UTC.

        None when no date matches within 50 years, when every date of many years
        falls into a gap, or beyond the year 9900.
        """
        # Fires fall on whole seconds: none lies between the moment and its second's start.
        start = max(in_utc(moment).replace(microsecond=0), EARLIEST)
        if start.year > LAST_YEAR:
            return None
        if self.pattern.follows_clock or self.dst == "literal":
            return self._next_matching(start)
        return self._next_of_day(start)

    def anchored(self, moment: datetime) -> Cron:
        """Return this trigger: the calendar is its anchor."""
        return self

    def _next_matching(self, start: datetime) -> datetime | None:
        """The first instant after *start* whose wall clock matches."""
        local = start.astimezone(self.zone)
        wall = local.replace(tzinfo=None, fold=0)
        if not local.fold and (shift := find_shift(wall, self.zone)) is not None:
            # In the first pass: what remains of it precedes all of the second.
            found = self.pattern.next_wall(wall)
            if found is not None and found < shift.wall_end:
                return to_instant(found, shift.before)
            start, wall = shift.at - SECOND, shift.wall_start - SECOND
        for _ in range(GAP_LIMIT):
            found = self.pattern.next_wall(wall)
            if found is None:
                return None
            before, after = offsets(found, self.zone)
            if before < after:
                wall = self._gap_end(found) - SECOND
                continue
            instant = to_instant(found, before)
            return instant if instant > start else to_instant(found, after)
        return None

    def _next_of_day(self, start: datetime) -> datetime | None:
        """The first instant after *start* that a time of day is bound to."""
        local = start.astimezone(self.zone)
        wall = local.replace(tzinfo=None, fold=0)
        if local.fold and (shift := find_shift(wall, self.zone)) is not None:
            wall = shift.wall_end - SECOND
        for _ in range(GAP_LIMIT):
            found = self.pattern.next_wall(wall)
            if found is None:
                return None
            before, after = offsets(found, self.zone)
            if before >= after:
                return to_instant(found, before)
            shift = find_shift(found, self.zone)
            assert shift is not None, "offsets that differ mark a shift"
            if self.dst == "cron" and shift.size <= CLOCK_CORRECTION:
                return shift.at
            wall = shift.wall_end - SECOND
        return None

    def _gap_end(self, wall: datetime) -> datetime:
        shift = find_shift(wall, self.zone)
        assert shift is not None, "offsets that differ mark a shift"
        return shift.wall_end
