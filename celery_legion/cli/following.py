"""Following a run: what it writes, as the store has it, until it is over."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

import click

from celery_legion.cli import render
from celery_legion.context import Context
from celery_legion.control import visible
from celery_legion.lookup import is_over
from celery_legion.run import Record

POLL = 0.2
"""Seconds between two looks; a worker tells the store twice a second at most."""

LEFT_OUT = re.compile(r"\A\[(\d+) bytes before this are in the log\]\n")


def write_output(text: str) -> None:
    """Write what a run has printed to standard output, control characters escaped except tabs and ends of line."""
    # What draws over its own line is read line by line; the end of one may come with the next piece.
    text = text.replace("\r\n", "\n").removesuffix("\r").replace("\r", "\n")
    click.echo(visible(text), nl=False)


def how_it_ended(record: Record) -> str:
    """Return how a run that was followed has ended, in words."""
    if not is_over(record):
        return "is no longer known to the store"
    return f"is over: {render.outcome(record)}"


class Follower:
    """What is new in the tail of a run's output, each time it is looked at."""

    def __init__(self) -> None:
        self._seen = 0
        self._token = 0

    def news(self, record: Record) -> str:
        """Return what was written since the last look, with a note for what the tail no longer has."""
        if record.token != self._token:
            again = f"\n[attempt {record.attempt}]\n" if self._seen else ""
            self._token, self._seen = record.token, 0
            return again + self._since(record)
        return self._since(record)

    def _since(self, record: Record) -> str:
        output = record.output or ""
        found = LEFT_OUT.match(output)
        before = int(found[1]) if found else 0
        tail = (output[found.end() :] if found else output).encode("utf-8", "replace")
        missing, fresh = before - self._seen, max(0, before + len(tail) - self._seen)
        self._seen = max(self._seen, before + len(tail))
        note = f"[{missing} bytes before this are in the log]\n" if missing > 0 else ""
        return note + tail[len(tail) - min(fresh, len(tail)) :].decode("utf-8", "replace")


def follow(
    context: Context, record: Record, write: Callable[[str], object], pause: Callable[[float], object] = time.sleep
) -> Iterator[Record]:
    """Hand all that the run writes to *write*, and yield its record at each look.

    The last one is of its end, unless the store has forgotten the run before.

    Raises:
        StoreUnavailableError: The store does not answer.
    """
    follower = Follower()
    while True:
        if news := follower.news(record):
            write(news)
        yield record
        if is_over(record):
            return
        pause(POLL)
        found = context.store.get(record.id or "")
        if found is None:
            return
        record = found
