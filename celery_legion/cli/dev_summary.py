"""What happened while ``legion dev`` ran, by the ledger: for each job how often it ended how."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import click
from rich.console import Console
from rich.text import Text

from celery_legion.cli import render
from celery_legion.cli.grid import Cell, Column, cell, lay_out, write_lines, write_plain
from celery_legion.cli.session import say
from celery_legion.context import Context
from celery_legion.errors import LegionError
from celery_legion.run import Kind, Reason, Record, State

COLUMNS = (Column("Job", least=28), Column("What", least=22), Column("Count", right=True), Column("Last", least=14))
STRETCH = 10_000
"""Newest records that are counted."""

STARTED = "started"
ORDER = list(State)


@dataclass(slots=True)
class Tally:
    """How often a job ended in one way; ``last`` is the newest record of it."""

    last: Record
    count: int = 0


def summarize(context: Context, since: datetime, out: Console) -> None:
    """Write what happened since a moment. Where the store does not answer, one line says so."""
    try:
        records = context.store.runs(None, STRETCH)
    except LegionError as exc:
        click.echo(f"what happened cannot be told: {exc}", err=True)
        return
    tallies = tally(record for record in records if (record.ended_at or record.last_fire_time) >= since)
    rows = [cells(key, one) for key, one in sorted(tallies.items(), key=lambda item: _order(item[0]))]
    if out.is_terminal:
        # A job's name once is enough for the eye.
        rows = [row if at == 0 or row[0] != rows[at - 1][0] else [cell(), *row[1:]] for at, row in enumerate(rows)]
    span = render.rough_words(context.clock.now() - since)
    if not rows:
        click.echo(f"nothing ran and nothing was skipped in {span}")
        return
    click.echo(f"\nwhat happened in {span}\n")
    if out.is_terminal:
        write_lines(lay_out(COLUMNS, rows, out.width), out)
    else:
        write_plain(COLUMNS, rows)
    if waiting := sorted(set(context.registry.jobs) - {job for job, *_ in tallies}):
        say(f"\nnot due: {', '.join(map(render.printable, waiting))}")


Key = tuple[str, Kind, State, str | None]


def tally(records: Iterable[Record]) -> dict[Key, Tally]:
    """Count records, the newest first, by job, kind and outcome."""
    tallies: dict[Key, Tally] = {}
    for record in records:
        one = tallies.setdefault((record.job, record.kind, record.state, record.reason), Tally(record))
        one.count += record.count
    return tallies


def _order(key: Key) -> tuple[str, bool, int, str]:
    job, kind, state, reason = key
    return job, kind is not Kind.SCHEDULED, ORDER.index(state), reason or ""


def cells(key: Key, one: Tally) -> list[Cell]:
    """Return a row of :data:`COLUMNS`."""
    job, kind, state, reason = key
    what = render.state(state, reason)
    if kind is not Kind.SCHEDULED:
        what.append(f", {kind.value}")
    return [cell(render.printable(job)), cell(what), cell(render.size_words(one.count)), cell(_words(one.last))]


def _words(record: Record) -> Text:
    """Return what the newest of them left: its error, the end of its output, why, or how long it took."""
    said = render.last_line(record.error) or render.last_line(record.output)
    took = render.took(record)
    if not said and record.reason in list(Reason):
        said = render.reason_words(record.reason).partition(" (")[0]
    if not said and not record.state.terminal:
        said = "not begun" if record.started_at is None else "not over"
    return Text(said) if said else Text("" if took is None else f"took {render.span_words(took)}", style="dim")
