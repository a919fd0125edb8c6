"""Fires as a reader sees them: what is due, what comes next, and in which zone and words it was written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from celery_legion.job import Job
from celery_legion.stores.base import JobState
from celery_legion.triggers import Cron, Interval, Restricted, Trigger, Union

NextAfter = Callable[[Trigger, datetime], datetime | None]


def due_and_next(
    job: Job, state: JobState, now: datetime, next_after: NextAfter
) -> tuple[datetime | None, datetime | None]:
    """Return the earliest fire that has passed without being accounted for, and the next one after now."""
    if not job.enabled or (state.anchor is None and needs_anchor(job.trigger)):
        # What no scheduler has seen yet has no start to count an interval from.
        return None, None
    trigger = job.trigger if state.anchor is None else job.trigger.anchored(state.anchor)
    if state.mark is not None:
        first = next_after(trigger, state.mark)
        if first is None or first > now:
            return None, first
        return first, next_after(trigger, now)
    return None, next_after(trigger, now)


def needs_anchor(trigger: Trigger) -> bool:
    """Return whether the trigger's times depend on when a scheduler sees it for the first time."""
    if isinstance(trigger, Union):
        return any(map(needs_anchor, trigger.triggers))
    if isinstance(trigger, Restricted):
        return needs_anchor(trigger.trigger)
    return isinstance(trigger, Interval) and trigger.anchor is None


def next_fire(trigger: Trigger, moment: datetime) -> datetime | None:
    """Return the fire after *moment*; None also for a trigger that cannot say."""
    try:
        return trigger.next_after(moment)
    except Exception:
        # A user's trigger may raise anything; a row says what.
        return None


def remembering() -> NextAfter:
    """Return ``next_after`` that computes once what many jobs ask alike, and raises what a trigger raises."""
    known: dict[tuple[Trigger, datetime], datetime | None] = {}

    def next_after(trigger: Trigger, moment: datetime) -> datetime | None:
        key = (trigger, moment)
        if key not in known:
            known[key] = trigger.next_after(moment)
        return known[key]

    return next_after


def zone_of(trigger: Trigger, otherwise: str = "UTC") -> str:
    """Return the zone that a trigger's times are written in, *otherwise* for one that has none."""
    if isinstance(trigger, Union):
        return zone_of(trigger.triggers[0], otherwise)
    return str(getattr(trigger, "timezone", otherwise))


def written(trigger: Trigger) -> str | None:
    """Return a trigger's cron expression as it stands in the code, None if it has none."""
    if isinstance(trigger, Restricted):
        return written(trigger.trigger)
    if isinstance(trigger, Union):
        return " | ".join(filter(None, map(written, trigger.triggers))) or None
    return trigger.expression if isinstance(trigger, Cron) else None
