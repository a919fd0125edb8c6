"""A Celery message as it arrived in a list of a broker."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PRIORITY_MARK = "\x06\x16"
"""Separates a queue's name from a priority in the key of its list."""

LINE = re.compile(rb'\+(\d+)\.(\d{6}) \[(\d+) ([^"]*?)\] "([LR]PUSH)" (.*)', re.IGNORECASE | re.DOTALL)

ARGUMENT = re.compile(rb'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)

ESCAPE = re.compile(rb"\\(?:x[0-9a-fA-F]{2}|.)", re.DOTALL)

ESCAPED = {rb"\n": b"\n", rb"\r": b"\r", rb"\t": b"\t", rb"\a": b"\a", rb"\b": b"\b"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One message of Celery's protocol 2 that was put into a queue's list.

    ``at`` is the server's clock, ``monotonic`` this process's at receipt. ``args`` and ``kwargs`` are None if the body
    is not plain JSON. ``redelivered`` tells that a consumer put it back: it is no new push. ``pid`` is of the process
    that published it (of the first publisher, if it was put back), None if unknown.
    """

    at: datetime
    monotonic: float
    queue: str
    task: str
    id: str
    args: list[Any] | None
    kwargs: dict[str, Any] | None
    pid: int | None
    redelivered: bool
    headers: dict[str, Any]


def read_line(line: bytes, db: int, monotonic: float) -> list[Arrival]:
    """Return the messages that a line of MONITOR's output (without its end) says were pushed in database *db*.

    A line of anything else gives none.
    """
    found = LINE.fullmatch(line)
    if found is None or int(found[3]) != db:
        return []
    at = EPOCH + timedelta(seconds=int(found[1]), microseconds=int(found[2]))
    key, *values = (unescape(argument) for argument in ARGUMENT.findall(found[6]))
    queue = key.decode(errors="replace").partition(PRIORITY_MARK)[0]
    arrivals = (_read_message(value, queue, at, monotonic) for value in values)
    return [arrival for arrival in arrivals if arrival is not None]


def unescape(quoted: bytes) -> bytes:
    """Return what was meant by the inside of one of MONITOR's quoted arguments."""
    if b"\\" not in quoted:
        return quoted
    return ESCAPE.sub(_meant, quoted)


def _meant(found: re.Match[bytes]) -> bytes:
    escape = found[0]
    if len(escape) == 4:
        return bytes((int(escape[2:], 16),))
    # Anything else stands for itself: a quote, a backslash.
    return ESCAPED.get(escape, escape[1:])


def _read_message(value: bytes, queue: str, at: datetime, monotonic: float) -> Arrival | None:
    try:
        message = json.loads(value)
    except ValueError:
        return None
    headers = _mapping(message).get("headers")
    properties = _mapping(message).get("properties")
    if not isinstance(headers, dict) or not isinstance(properties, dict) or not headers.get("task"):
        return None
    args, kwargs = _read_body(message.get("body"), properties, message.get("content-encoding"))
    origin = re.match(r"gen(\d+)@", str(headers.get("origin")))
    delivery = _mapping(properties.get("delivery_info"))
    return Arrival(
        at=at,
        monotonic=monotonic,
        queue=queue,
        task=str(headers["task"]),
        id=str(headers.get("id")),
        args=args,
        kwargs=kwargs,
        pid=int(origin[1]) if origin else None,
        redelivered=bool(headers.get("redelivered") or delivery.get("redelivered")),
        headers=headers,
    )


def _read_body(
    body: object, properties: Mapping[str, Any], encoding: object
) -> tuple[list[Any] | None, dict[str, Any] | None]:
    try:
        raw = str(body).encode()
        if properties.get("body_encoding") == "base64":
            raw = base64.b64decode(raw, validate=True)
        args, kwargs, _ = json.loads(raw.decode("utf-8" if encoding == "binary" else str(encoding)))
    except (ValueError, TypeError, LookupError, binascii.Error):
        return None, None
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        return None, None
    return args, kwargs


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
