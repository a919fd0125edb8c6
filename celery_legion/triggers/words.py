"""Schedules in English words, for lists, pages and logs.

Loads cron-descriptor and humanize, which scheduling itself never needs.
"""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache

from cron_descriptor import Options, get_description
from humanize import precisedelta

from celery_legion.triggers.asked import Asked
from celery_legion.triggers.base import Trigger
from celery_legion.triggers.broken import Broken
from celery_legion.triggers.cron import Cron
from celery_legion.triggers.interval import Interval
from celery_legion.triggers.once import Once
from celery_legion.triggers.pattern import BOUNDS, HOUR, WEEKDAY
from celery_legion.triggers.restricted import Restricted
from celery_legion.triggers.union import Union

MIDNIGHT = "At 00:00"
DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LONGEST = timedelta(days=700_000)
"""What humanize has words for: it counts back from now, and the calendar begins with the year 1."""

SETS = {frozenset(range(5)): "weekdays", frozenset({5, 6}): "weekends", frozenset(range(7)): "every day"}


def describe(trigger: Trigger) -> str:
    """Return *trigger* in words: lower case at the start, no full stop, the zone where it matters.

    Examples: ``at 02:00 on Monday, Europe/Berlin``, ``every 5 minutes``,
    ``every 1 minute and 30 seconds``, ``once at 2026-12-01 18:00 UTC``. A cron expression
    that has no words is shown as it is written.
    """
    if isinstance(trigger, Cron):
        return f"{_cron(trigger)}{_zone(trigger)}"
    if isinstance(trigger, Interval):
        return f"every {_span(trigger.every)}"
    if isinstance(trigger, Once):
        moment = trigger.moment
        detail = "milliseconds" if moment.microsecond else "seconds" if moment.second else "minutes"
        return f"once at {moment.replace(tzinfo=None).isoformat(' ', detail)} UTC"
    if isinstance(trigger, Union):
        return " and ".join(describe(member) for member in trigger.triggers)
    if isinstance(trigger, Restricted):
        return _restricted(trigger)
    if isinstance(trigger, Broken):
        return "none that works"
    if isinstance(trigger, Asked):
        return f"whenever {trigger.text} says so"
    return _text(trigger)


def _text(trigger: Trigger) -> str:
    """What a user's trigger says of itself; it may fail."""
    try:
        return str(trigger)
    except Exception as exc:
        # One job's code must not take the screen from the others.
        return f"{type(trigger).__qualname__} ({type(exc).__name__} when shown)"


def _zone(trigger: Cron) -> str:
    """The zone, unless it is UTC and the trigger names neither hours nor days."""
    anchored_to_day = any(field[0] not in "*?" for field in trigger.pattern.fields[HOUR : WEEKDAY + 1])
    return f", {trigger.timezone}" if anchored_to_day or trigger.timezone != "UTC" else ""


def _restricted(trigger: Restricted) -> str:
    inner, zone = trigger.trigger, f", {trigger.timezone}"
    own = isinstance(inner, Cron) and inner.timezone == trigger.timezone
    text = _cron(inner) if own and isinstance(inner, Cron) else describe(inner)
    days = SETS.get(trigger.weekdays)
    if days is None:
        *first, last = (DAY_NAMES[day] for day in sorted(trigger.weekdays))
        days = f"{', '.join(first)} and {last}" if first else last
    return f"{text} on {days}{zone}" if days != "every day" else f"{text}{zone}"


def _span(span: timedelta) -> str:
    if span > LONGEST:
        return f"{span.days} days"
    text = precisedelta(span, minimum_unit="milliseconds", suppress=("years", "months"), format="%d")
    # "every hour" reads better than "every 1 hour"; "1 hour and 30 minutes" needs its number.
    number, _, unit = text.partition(" ")
    return unit if number == "1" and " " not in unit else text


@lru_cache(maxsize=4096)
def _cron(trigger: Cron) -> str:
    minute, hour, day, month, weekday, *second = (
        _reachable(index, field) for index, field in enumerate(trigger.pattern.fields)
    )
    # What cron-descriptor has no words for.
    if ("l" in day and day != "l") or ("," in weekday and ("#" in weekday or "l" in weekday)):
        return trigger.expression
    try:
        text = _phrase(*second, minute, hour, "*", "*", "*")
        days, weekdays = _rest("0", "0", day, "*", "*"), _rest("0", "0", "*", "*", weekday)
        months = _rest("0", "0", "*", month, "*")
    except Exception:
        # Its errors have other names in each series, and no base of their own; words are not worth a failure.
        return trigger.expression
    if days and weekdays:
        text = (
            f"{text}, {days}, {'or' if trigger.pattern.either_day else 'and only'} {weekdays}{months and f', {months}'}"
        )
    else:
        text = " ".join(part for part in (text, days or weekdays, months) if part)
    return text[0].lower() + text[1:]


def _reachable(index: int, field: str) -> str:
    """The field, or its first value if it steps past its end: ``*/90`` fires at minute 0, not every 90 minutes."""
    low, high = (0, 6) if index == WEEKDAY else BOUNDS[index]
    step = field.removeprefix("*/")
    return str(low) if step.isdigit() and field != step and int(step) > high - low else field


def _rest(*fields: str) -> str:
    """What a phrase says beyond midnight."""
    return _phrase(*fields).removeprefix(MIDNIGHT).removeprefix(", ").removeprefix("only ")


def _phrase(*fields: str) -> str:
    # By attributes: before its series 2 the class takes no arguments.
    options = Options()
    options.use_24hour_time_format = True
    options.locale_code = "en_US"
    return str(get_description(" ".join(fields).upper(), options))
