"""Schedule objects of Celery's kind: those that are computed ahead, those that are asked, and triggers as one."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from hashlib import sha1
from math import isfinite
from typing import Any

from celery.schedules import BaseSchedule

from celery_legion.clock import MILLISECOND
from celery_legion.triggers import Trigger, TriggerError
from celery_legion.triggers.asked import Answer, Asked
from celery_legion.triggers.zone_object import zone_name

METHODS = (
    "is_due",
    "remaining_estimate",
    "remaining_delta",
    "_delta_to_next",
    "now",
    "to_local",
    "maybe_make_aware",
    "__getattribute__",
    "__getattr__",
)
"""What decides when a schedule is due; a class that has one of its own means something of its own."""

FIELDS = (
    "run_every",
    "relative",
    "seconds",
    "minute",
    "hour",
    "day_of_week",
    "day_of_month",
    "month_of_year",
    "event",
    "lat",
    "lon",
    "nowfun",
    "utc_enabled",
)
"""What a schedule is made of; a class that computes one, as a property does, may give another value each time."""

PLAIN = (str, int, float, bool, timedelta, datetime)

KNOWN = (BaseSchedule.__module__, "django_celery_beat.tzcrontab")
"""Modules whose classes mean what their fields say: Celery's own, and a crontab with nothing but a zone of its own."""

LONGEST_TEXT = 80
"""Characters of what a schedule calls itself that lists show at most."""

SHORTEST = timedelta(milliseconds=10)
"""The least time between two questions."""

LONGEST = timedelta(days=3650)
"""The most that a schedule is believed to want not to be asked."""

UNSAID = timedelta(seconds=1)
"""When a schedule is asked again that says "at once": one that is always due runs each second and floods nobody."""

IDLE = timedelta(seconds=300)
"""When a schedule is asked again that is not due and says nothing of when: as long as beat sleeps at most."""


def decides_by_asking(schedule: Any) -> bool:
    """Return whether *schedule* has to be asked when it is due, since code that is not Celery's own decides."""
    kind, own = type(schedule), vars(schedule) if hasattr(schedule, "__dict__") else {}
    if not isinstance(schedule, BaseSchedule) or any(name in own for name in METHODS):
        return True
    for name in (*METHODS, *FIELDS):
        base = next((base for base in kind.__mro__ if name in vars(base)), None)
        if base is None or base is object or base.__module__ in KNOWN:
            continue
        if name in METHODS or hasattr(vars(base)[name], "__get__"):
            return True
    return False


class CelerySchedule:
    """A schedule of Celery's own that only Celery can compute (solar, say) as a trigger.

    Two are equal if they are of one schedule object: Celery's own equality knows no zones.
    ``text`` is what it says of itself, the same in every process.
    """

    __slots__ = ("schedule", "text")

    def __init__(self, schedule: Any) -> None:
        self.schedule = schedule
        self.text = _text(schedule)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CelerySchedule) and self.schedule is other.schedule

    def __hash__(self) -> int:
        return hash((self.text, id(self.schedule)))

    def __repr__(self) -> str:
        return f"CelerySchedule({self.text!r})"

    def __str__(self) -> str:
        return self.text

    def next_after(self, moment: datetime) -> datetime | None:
        """Return what the schedule says is next when it has last run at *moment*, in UTC and whole milliseconds."""
        if moment.tzinfo is None:
            raise TriggerError(self.text, "was asked with a naive moment", "use an aware one")
        moment = moment.astimezone(UTC)
        # Beat asks in the schedule's zone, and some answers depend on it.
        remaining = self._at(moment).remaining_estimate(moment.astimezone(self.schedule.tz))
        return _whole_ms(moment + max(remaining, MILLISECOND))

    def _at(self, now: datetime) -> Any:
        """A copy of the schedule for which it is *now*; its own way of being copied may lose attributes."""
        schedule = self.schedule
        clone = object.__new__(type(schedule))
        vars(clone).update(vars(schedule))
        clone.nowfun = lambda: now.astimezone(schedule.tz)
        return clone

    def anchored(self, moment: datetime) -> Trigger:
        """Return itself."""
        return self


class AskedSchedule(Asked):
    """A schedule whose class decides by its own code, asked as beat asks it: itself, now, with the true last run."""

    __slots__ = ("schedule", "state_print", "text")

    def __init__(self, schedule: Any) -> None:
        self.schedule = schedule
        kind = type(schedule)
        self.text = _own_text(schedule)
        # As written: what it remembers while it is asked is not part of it, since this is read before.
        said = f"{kind.__module__}.{kind.__qualname__} {_plain_state(schedule)}"
        self.state_print = sha1(said.encode(errors="replace"), usedforsecurity=False).hexdigest()[:12]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AskedSchedule) and self.schedule is other.schedule

    def __hash__(self) -> int:
        return hash((AskedSchedule, id(self.schedule)))

    def __repr__(self) -> str:
        # The same whatever state it is in: when it has last run stays true if its state changes.
        kind = type(self.schedule)
        return f"AskedSchedule({kind.__module__}.{kind.__qualname__})"

    def __str__(self) -> str:
        return self.text

    def ask(self, last_run: datetime) -> Answer:
        """Return what the schedule's ``is_due`` says of the present moment.

        Raises:
            TypeError: It returns no pair of a truth and seconds.
        """
        said = self._is_due(last_run.astimezone(self._zone()))
        try:
            due, seconds = said
        except (TypeError, ValueError):
            raise TypeError(f"is_due() returned {said!r} and not whether it is due and the seconds to wait") from None
        due = bool(due)
        return Answer(due, _wait(seconds, due))

    def _zone(self) -> tzinfo:
        """Return the schedule's zone, else its app's: what a user's class calls so may be anything."""
        with suppress(Exception):
            if isinstance(zone := self.schedule.tz, tzinfo):
                return zone
        with suppress(Exception):
            if isinstance(zone := self.schedule.app.timezone, tzinfo):
                return zone
        return UTC

    def _is_due(self, last: datetime) -> Any:
        schedule = self.schedule
        if getattr(type(schedule), "is_due", None) is not BaseSchedule.is_due or "is_due" in vars(schedule):
            return schedule.is_due(last)
        # It has nothing but its estimate.
        left = schedule.remaining_estimate(last)
        if left > timedelta(0):
            return False, left
        return True, schedule.remaining_estimate(schedule.maybe_make_aware(schedule.now()))


def _wait(seconds: Any, due: bool) -> timedelta:
    """Return for how long a schedule is not asked again; it may say any nonsense."""
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    try:
        span = float(seconds)
    except (TypeError, ValueError, OverflowError):
        return UNSAID if due else IDLE
    if span == float("inf"):
        return LONGEST
    if not isfinite(span):
        return UNSAID if due else IDLE
    if span <= 0:
        return UNSAID
    return max(SHORTEST, timedelta(seconds=min(span, LONGEST.total_seconds())))


class TriggerSchedule(BaseSchedule):
    """A trigger that none of Celery's own schedules can say, for those who ask an entry for its schedule."""

    def __init__(self, trigger: Trigger) -> None:
        super().__init__()
        self.trigger = trigger

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Return how long it is to the first fire after *last_run_at*; a year if there is none."""
        now = self.maybe_make_aware(self.now())
        fire = self.trigger.next_after(self.maybe_make_aware(last_run_at))
        return timedelta(days=365) if fire is None else fire - now.astimezone(UTC)

    def is_due(self, last_run_at: datetime) -> tuple[bool, float]:
        """Return whether a fire is due, and the seconds to the next."""
        remaining = self.remaining_estimate(last_run_at).total_seconds()
        if remaining > 0:
            return False, remaining
        return True, max(self.remaining_estimate(self.now()).total_seconds(), 0.0)

    def __repr__(self) -> str:
        return f"<trigger: {self.trigger}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TriggerSchedule) and self.trigger == other.trigger

    def __hash__(self) -> int:
        return hash(self.trigger)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.trigger,)


def _whole_ms(moment: datetime) -> datetime:
    rest = moment.microsecond % 1000
    return moment + timedelta(microseconds=1000 - rest) if rest else moment


def _text(schedule: Any) -> str:
    own = vars(schedule)
    text = repr(schedule)
    if own.get("relative"):
        text += " relative"
    zone = zone_name(own.get("tz"))
    return text if zone is None else f"{text} {zone}"


def _own_text(schedule: Any) -> str:
    """Return what an asked schedule is called: as its class says, but not as Celery's does, which is not so of it."""
    kind = type(schedule)
    base = next((base for base in kind.__mro__ if "__repr__" in vars(base)), object)
    if base is not object and base.__module__ != BaseSchedule.__module__:
        try:
            text = repr(schedule)
        except Exception:
            text = ""
        if text and " at 0x" not in text:
            return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 3]}..."
    return f"{kind.__module__}.{kind.__qualname__}"


def _plain_state(schedule: Any) -> str:
    own = vars(schedule) if hasattr(schedule, "__dict__") else {}
    return " ".join(f"{name}={value}" for name, value in sorted(own.items()) if isinstance(value, PLAIN))
