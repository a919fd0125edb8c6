"""How moments, spans, states and reasons read in a terminal, and the console they are written to."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import click
import humanize
from rich.console import Console
from rich.text import Text

from celery_legion.cli.grid import Column, cell, lay_out, write_lines, write_plain
from celery_legion.control import visible_json
from celery_legion.run import Reason, Record, State

NONE = "–"
SHORT_ID = 8
"""Characters of a run's id in tables; whatever takes a run takes its first six or more."""

STYLES = {
    State.SUCCEEDED: "green",
    State.RUNNING: "cyan",
    State.RETRYING: "cyan",
    State.FAILED: "red",
    State.LOST: "red",
    State.INTERRUPTED: "red",
    State.MISSED: "yellow",
    State.EXPIRED: "yellow",
    State.SKIPPED: "yellow",
}

REASONS = {
    Reason.OVERLAP: "an earlier run was not over",
    Reason.PAUSED: "the job was paused",
    Reason.CONDITION: "its when, skip or between said no",
    Reason.PAST_DEADLINE: "too late: its start deadline had passed",
    Reason.CATCH_UP: "fell due while no scheduler ran",
    Reason.LIMIT: "more had fallen due than its catch-up allows",
    Reason.BROKER: "the broker was away until its deadline",
    Reason.NO_WORKER: "no worker with Legion(app) has its queue",
    Reason.SUPERSEDED: "another run of the job took its place",
    Reason.GONE: "the job was gone when it was to be sent",
    Reason.REPLACED: "the task replaced itself by another",
    Reason.QUEUE: "no worker began it in time",
    Reason.UNWATCHED: "sent; no Legion(app) reports its end",
    Reason.UNSENDABLE: "its message could not be made or sent",
    Reason.NOT_SENT: "its task sent no message",
    Reason.EXPIRES: "the message's expires had passed",
    Reason.REVOKED: "someone took it back before it began",
    Reason.TERMINATED: "someone ended it while it ran",
    Reason.SHUTDOWN: "its worker was shut down",
    Reason.UNKNOWN_TASK: "its worker does not know the task",
    Reason.TIME_LIMIT: "ran longer than its time limit",
    Reason.PROCESS_LOST: "its worker or process died",
    Reason.RETRY_LOST: "no worker holds its retry any more",
    Reason.REJECTED: "the task rejected its message",
    Reason.IGNORED: "the task raised Ignore",
}
"""Reason → words of at most 45 characters; what is no code is somebody's own words already."""

WORDS: dict[str, str] = {reason.value: words for reason, words in REASONS.items()}


def console() -> Console:
    """Return a console on standard output: colours only for a terminal, none with ``NO_COLOR``."""
    return Console(highlight=False, soft_wrap=False)


def write_json(data: Any) -> None:
    """Write *data* as JSON to standard output; nothing in it can steer a terminal."""
    # What another encoding cannot write is JSON's to escape.
    utf_8 = (sys.stdout.encoding or "").lower().replace("_", "-") in ("utf-8", "utf8")
    click.echo(visible_json(json.dumps(data, indent=2, ensure_ascii=not utf_8)))


def printable(text: str) -> str:
    """Return *text* with control characters escaped, so that no output or name can steer the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def value(given: Any) -> str:
    """Return an argument as it would be written; of one that cannot show itself, what it is."""
    try:
        return repr(given)
    except Exception as exc:
        return f"<{type(given).__name__}: {type(exc).__name__} when shown>"


def last_line(text: str | None, limit: int = 200) -> str:
    """Return the last line of *text* that says something, printable and bounded; empty if none does."""
    lines = [line for line in (text or "").splitlines() if line.strip()]
    found = printable(lines[-1].strip()) if lines else ""
    return found if len(found) <= limit else f"{found[: limit - 1]}…"


def short_id(run_id: str | None) -> str:
    """Return the beginning of a run's id, as tables show it."""
    return printable((run_id or NONE)[:SHORT_ID])


def reason_words(reason: str | None) -> str:
    """Return why in words with the code behind them, or the reason as somebody wrote it; empty for None."""
    if reason is None:
        return ""
    words = WORDS.get(reason)
    return printable(reason) if words is None else f"{words} ({reason})"


def state(value: State | None, reason: str | None = None) -> Text:
    """Return a state in its colour, with its reason."""
    if value is None:
        return Text(NONE, style="dim")
    words = value.value if not reason else f"{value.value} ({printable(reason)})"
    return Text(words, style=STYLES.get(value, ""))


def ago(moment: datetime | None, now: datetime) -> str:
    """Return how long ago *moment* was, or in how long it will be, in short words."""
    if moment is None:
        return NONE
    span = moment - now
    words = rough_words(abs(span))
    return f"in {words}" if span >= timedelta(0) else f"{words} ago"


def span_words(span: timedelta) -> str:
    """Return a span by its two largest units: ``1h 5m``, ``12s``, ``80ms``."""
    seconds = span.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        amount, whole = divmod(whole, size)
        if amount or parts:
            parts.append(f"{amount}{unit}")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if not part.startswith("0")) or "0s"


def rough_words(span: timedelta) -> str:
    """Return a span as a countdown: like :func:`span_words`, but in whole seconds."""
    return span_words(span) if span >= timedelta(seconds=10) else f"{max(0, int(span.total_seconds()))}s"


def coarse_words(span: timedelta) -> str:
    """Return a span in whole numbers of one unit: ``59s``, ``3m``, ``119m``, ``47h``, ``2d``."""
    seconds = max(0, int(span.total_seconds()))
    for unit, size, least in (("d", 86400, 172_800), ("h", 3600, 7200), ("m", 60, 90)):
        if seconds >= least:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def error_words(text: str | None, limit: int = 200) -> str:
    """Return what an error says in one line: the last one of a trace-back, else the first."""
    lines = (text or "").strip().splitlines()
    return last_line(text if lines and lines[0].startswith("Traceback") else "".join(lines[:1]), limit)


def outcome(record: Record) -> str:
    """Return a record's state, with its reason if it has one."""
    return record.state.value + (f" ({printable(record.reason)})" if record.reason else "")


def took(record: Record) -> timedelta | None:
    """Return how long a run took, None if it never began or is not over."""
    if record.started_at is None or record.ended_at is None:
        return None
    return max(record.ended_at - record.started_at, timedelta(0))


def size_words(count: int) -> str:
    """Return a number with thousands separated."""
    return str(humanize.intcomma(count))


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: ``1 job``, ``12 jobs``."""
    return f"{size_words(count)} {noun}{'' if count == 1 else 's'}"


def write_table(columns: Sequence[Column], rows: Sequence[Sequence[Text | str]]) -> None:
    """Write a table: one that fits a terminal's width, or one line a row, aligned, for a program to read."""
    cells = [[cell(one) for one in row] for row in rows]
    out = console()
    if out.is_terminal:
        write_lines(lay_out(columns, cells, out.width), out)
    else:
        write_plain(columns, cells)
