"""Durations: the ways in which people write spans of time."""

from __future__ import annotations

import re
from datetime import timedelta

from celery_legion.errors import LegionError

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
PARTS = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+", re.ASCII)
PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)", re.ASCII)
NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)

Duration = timedelta | int | float | str
"""A span as people write it: a timedelta, seconds, or text such as ``90s``, ``30m``, ``1h30m``, ``2d``."""


class DurationError(LegionError, ValueError):
    """A value is no duration."""

    def __init__(self, got: object) -> None:
        super().__init__(got)
        self.got = got

    def __str__(self) -> str:
        return f"{self.got!r} is no duration; write a timedelta, seconds, or text such as '90s', '30m', '1h30m' or '2d'"


def parse_duration(value: object) -> timedelta:
    """Return the span that *value* says; it may be zero or negative only where the value itself says so.

    A plain number is seconds. Units of text are ms, s, m, h, d and w, the case does not matter.

    Raises:
        DurationError: It is neither, or longer than a timedelta can hold.
    """
    try:
        if isinstance(value, timedelta):
            return value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return timedelta(seconds=value)
        if isinstance(value, str):
            return _parse_text(value)
    except (OverflowError, ValueError):
        pass
    raise DurationError(value)


def _parse_text(value: str) -> timedelta:
    text = value.replace(" ", "").lower()
    if NUMBER.fullmatch(text):
        return timedelta(seconds=float(text))
    if not PARTS.fullmatch(text):
        raise DurationError(value)
    return sum((timedelta(seconds=float(number) * UNITS[unit]) for number, unit in PART.findall(text)), timedelta())
