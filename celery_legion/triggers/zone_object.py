"""Time zone objects: the name that each goes by, also those that have no name of IANA's.

What such an object says of its offsets is taken over into a ``ZoneInfo`` of the same offsets, since only those tell a
wall clock that is doubled from one that is not, whatever the object is.
"""

from __future__ import annotations

import os
import re
import struct
import time
import warnings
from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from hashlib import sha1
from io import BytesIO
from pathlib import PurePath
from zoneinfo import ZoneInfo, available_timezones

from celery_legion.control import error_in_line
from celery_legion.triggers.errors import TriggerError

FIXED = re.compile(r"UTC([+-])(\d\d):([0-5]\d)(?::([0-5]\d))?")
"""The name of a fixed offset: ``UTC+03:00`` is three hours ahead of UTC."""

START, END = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (2015, 2050))
"""The years whose changes are taken over; always the same, so that a zone goes by one name in every process."""

NO_NAMES = {"localtime", "posixrules"}
"""What lies among the zones' files and names none."""

WEEK = 7 * 24 * 3600

Offset = Callable[[int], int]
"""Seconds that a zone's clocks are ahead of UTC at a second since 1970."""

Changes = tuple[tuple[int, int], ...]
"""When the offset changes and to what; the first is what it begins with."""

_made: dict[str, ZoneInfo] = {}
_named: dict[int, tuple[tzinfo, str]] = {}


def zone_name(zone: object) -> str | None:
    """Return the name of a tzinfo, by which :func:`find_zone` or ``ZoneInfo`` finds it; None for what is no tzinfo.

    The IANA name where there is one, ``UTC+03:00`` for an offset that never changes, else what the object calls
    itself; for this machine's own zone, what its C library says.

    Raises:
        TriggerError: The object cannot say its offsets.
    """
    if not isinstance(zone, tzinfo):
        return None
    known = _named.get(id(zone))
    if known is None:
        # Kept with its name, so that no other object gets its id.
        known = _named[id(zone)] = (zone, _name(zone))
    return known[1]


def find_zone(name: str) -> ZoneInfo | None:
    """Return the zone of a name that :func:`zone_name` has given to what IANA has no name for."""
    made = _made.get(name)
    if made is None and (match := FIXED.fullmatch(name)) is not None:
        hours, minutes, seconds = (int(text or 0) for text in match.groups()[1:])
        offset = hours * 3600 + minutes * 60 + seconds
        if offset < 24 * 3600:
            made = _made[name] = _zone_info(name, ((START, -offset if match[1] == "-" else offset),))
    return made


def _name(zone: tzinfo) -> str:
    said = _said_name(zone)
    if said is not None and (zone is UTC or zone is ZoneInfo(said)):
        return said
    if type(zone).__name__ == "LocalTimezone":
        return _local_name()

    def offset(second: int) -> int:
        found = datetime.fromtimestamp(second, UTC).astimezone(zone).utcoffset()
        assert found is not None, "what was moved to a zone has an offset"
        return found // timedelta(seconds=1)

    try:
        changes = _changes(offset)
    except Exception as exc:
        fault = f"cannot say its offsets ({error_in_line(exc)})"
        raise TriggerError(
            f"time zone {_shown(repr, zone)}", fault, "use a ZoneInfo such as ZoneInfo('Europe/Berlin')"
        ) from exc
    file = getattr(zone, "_filename", None)
    for iana in (said, _in_path(file) if isinstance(file, str) else None):
        # A fixed offset may be called "UTC" by whoever made it.
        if iana is not None and _agrees(ZoneInfo(iana), changes):
            return iana
    text = _shown(repr, zone)
    if not text or " at 0x" in text or not text.isprintable() or len(text) > 60:
        text = type(zone).__qualname__
    # Two objects that call themselves the same may differ.
    return _keep(f"{text} {sha1(repr(changes).encode(), usedforsecurity=False).hexdigest()[:6]}", changes)


def _said_name(zone: tzinfo) -> str | None:
    """Return the IANA name that an object says it has."""
    for attribute in ("key", "zone"):
        name = getattr(zone, attribute, None)
        if isinstance(name, str) and _is_iana(name):
            return name
    return "UTC" if _shown(str, zone) == "UTC" else None


def _shown(show: Callable[[object], str], zone: tzinfo) -> str:
    try:
        return show(zone)
    except Exception:
        return ""


def _local_name() -> str:
    """Return the name of this machine's zone; Celery goes by the C library, and so does this."""
    variable = os.environ.get("TZ")
    # A variable may say what only the C library can read, "MSK-3" say.
    name = _name_in_files() if variable is None else _in_path(variable.removeprefix(":"))
    changes = _changes(_c_offset)
    if name and _is_iana(name) and _agrees(ZoneInfo(name), changes):
        return name
    return _keep(f"TZ={variable}" if variable else "local time", changes)


def _name_in_files() -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from tzlocal import get_localzone_name

            return get_localzone_name()
    except Exception:
        # It reads files of many systems, and may trip over any of them.
        return None


def _c_offset(second: int) -> int:
    return time.localtime(second).tm_gmtoff


def _keep(text: str, changes: Changes) -> str:
    if len(changes) == 1:
        seconds = changes[0][1]
        if not seconds:
            return "UTC"
        minutes, rest = divmod(abs(seconds), 60)
        text = f"UTC{'-' if seconds < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}{f':{rest:02}' if rest else ''}"
    _made[text] = _zone_info(text, changes)
    return text


def _changes(offset: Offset) -> Changes:
    found = [(START, offset(START))]
    for week in range(START, END, WEEK):
        low, high, after = week, week + WEEK, offset(week + WEEK)
        if after == found[-1][1]:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            if offset(middle) == found[-1][1]:
                low = middle
            else:
                high = middle
        found.append((high, after))
    return tuple(found)


def _agrees(zone: ZoneInfo, changes: Changes) -> bool:
    """Whether a zone has these offsets in the years around now: rules of the distant future differ by release."""
    starts = [start for start, _ in changes]
    now = int(time.time())
    return all(
        datetime.fromtimestamp(second, zone).utcoffset()
        == timedelta(seconds=changes[max(0, bisect_right(starts, second) - 1)][1])
        for second in range(now - 52 * WEEK, now + 104 * WEEK, WEEK)
    )


def _is_iana(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _in_path(file: str) -> str | None:
    parts, known = PurePath(file).parts, available_timezones() - NO_NAMES
    names = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((name for name in names if name in known), None)


def _zone_info(name: str, changes: Changes) -> ZoneInfo:
    """Return a zone of these changes, by way of the file format that zones are kept in (RFC 8536)."""
    moments, offsets = [at for at, _ in changes[1:]], [offset for _, offset in changes]
    kinds = list(dict.fromkeys(offsets))
    counts = (0, 0, 0, len(moments), len(kinds), 4)
    body = struct.pack(f">{len(moments)}q", *moments)
    body += bytes(kinds.index(offset) for offset in offsets[1:])
    body += b"".join(struct.pack(">lbb", kind, 0, 0) for kind in kinds) + b"LCL\0"
    empty = b"TZif2" + bytes(15) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lbb", 0, 0, 0) + b"LCL\0"
    data = empty + b"TZif2" + bytes(15) + struct.pack(">6l", *counts) + body + b"\n\n"
    return ZoneInfo.from_file(BytesIO(data), key=name)
