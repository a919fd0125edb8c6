"""What lies in the store and cannot be read: passed over, and named once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What reading raises for a value's own sake: no JSON, nested too deeply, a field that lacks or is of another type."""

LIMIT = 1000
"""Most keys that one process names; whoever has more has been told."""

SHOWN = 200
"""Most characters of a name: others choose them."""

_named: set[tuple[str, str]] = set()


def readable(key: str, field: str, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Return what *read* makes of what lies at *key* (in its *field*, if it has any), None if that cannot be read."""
    try:
        return read(*args, **kwargs)
    except UNREADABLE as exc:
        report(key, field, f"cannot be read ({type(exc).__name__}) and is passed over; delete it")
        return None


def report(key: str, field: str, problem: str, level: int = logging.WARNING) -> None:
    """Say that what lies there cannot be read, once for each key and field."""
    if (key, field) in _named or len(_named) >= LIMIT:
        return
    _named.add((key, field))
    place = f"field {field[:SHOWN]!r} of {key[:SHOWN]!r}" if field else f"{key[:SHOWN]!r}"
    logger.log(level, "%s in the store %s", place, problem)
    if len(_named) == LIMIT:
        logger.log(level, "%d keys in the store cannot be read; no more are named", LIMIT)


def text_of(value: object) -> str:
    """Return a text that came as JSON; halves of surrogate pairs, which nobody could write out, are question marks.

    Raises:
        TypeError: It is no text.
    """
    if not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return value.encode("utf-8", "replace").decode()
