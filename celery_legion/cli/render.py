"""How moments, spans and states read in a terminal, and the console they are written to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import click
import humanize
from rich.console import Console
from rich.table import Table
from rich.text import Text

from celery_legion.run import State

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


def console() -> Console:
    """Return a console on standard output: colours only for a terminal, none with ``NO_COLOR``."""
    return Console(highlight=False, soft_wrap=False)


def write_json(data: Any) -> None:
    """Write *data* as JSON to standard output."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def printable(text: str) -> str:
    """Return *text* with control characters escaped, so that no output or name can steer the terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def state(value: State | None, reason: str | None = None) -> Text:
    """Return a state in its colour, with its reason."""
    if value is None:
        return Text("–", style="dim")
    words = value.value if not reason else f"{value.value} ({printable(reason)})"
    return Text(words, style=STYLES.get(value, ""))


def ago(moment: datetime | None, now: datetime) -> str:
    """Return how long ago *moment* was, or in how long it will be, in short words."""
    if moment is None:
        return "–"
    span = moment - now
    words = span_words(abs(span))
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


def size_words(count: int) -> str:
    """Return a number with thousands separated."""
    return str(humanize.intcomma(count))


def table(columns: Sequence[str | tuple[str, dict[str, Any]]], rows: Sequence[Sequence[Text | str]]) -> Table:
    """Return a borderless table that fits its console's width; each cell is plain text or styled, never markup."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        name, how = column if isinstance(column, tuple) else (column, {})
        made.add_column(name, **how)
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    return made
