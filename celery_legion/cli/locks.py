"""``celery legion locks``: which runs hold which locks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click
from rich.text import Text

from celery_legion.cli import render
from celery_legion.cli.grid import Cell, Column, cell, lay_out, write_lines, write_plain
from celery_legion.cli.row import STATES_LIMIT
from celery_legion.cli.session import Command, open_context
from celery_legion.clock import isoformat
from celery_legion.context import Context
from celery_legion.run import Record
from celery_legion.stores.base import Holder, Lock

COLUMNS = (
    Column("Lock", least=16),
    Column("Run"),
    Column("Job", least=12),
    Column("State", least=9),
    Column("Since", least=8),
    Column("Left", least=8),
    Column("Worker", least=12),
)


@dataclass(frozen=True, slots=True)
class Held:
    """One run's hold on a lock, and since when: the run's start, or its claim if it has not begun (None = unknown)."""

    lock: Lock
    holder: Holder
    since: datetime | None

    def dump(self) -> dict[str, Any]:
        """Return it as JSON-ready data; the instant is ISO 8601 in UTC, the duration seconds."""
        return {
            "lock": self.lock.name,
            "run": self.holder.run_id,
            "job": self.holder.job,
            "state": self.holder.state.value,
            "worker": self.holder.worker,
            "since": isoformat(self.since),
            "expires_in": self.holder.expires_in.total_seconds(),
        }


@click.command("locks", cls=Command)
@click.option("--json", "as_json", is_flag=True, help="A JSON array of locks with holders; durations in seconds.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show every lock: which run holds it, since when, and how long it lasts if nothing is heard of the run.

    The lock of a run that works is renewed by its worker. One that has not begun only keeps its job from being sent
    twice. `celery legion clear-locks` frees them.

    Example: celery -A shop legion locks
    """
    context = open_context(ctx)
    found = read_locks(context)
    if as_json:
        render.write_json([held.dump() for held in found])
        return
    out = render.console()
    if not found:
        click.echo("no lock is held", err=not out.is_terminal)
        return
    now = context.clock.now()
    # A lock is called like its job unless jobs share it.
    alike = all(held.lock.name == held.holder.job for held in found)
    if out.is_terminal:
        write_lines(screen(found, now, out.width, alike=alike), out)
    else:
        write_plain(COLUMNS, [_cells(held, now) for held in found])


def screen(found: Sequence[Held], now: datetime, width: int, *, alike: bool) -> list[Text]:
    """Return the lines for a terminal; *alike* leaves out the jobs, whose names are those of the locks."""
    shown = [column for column in COLUMNS if column.title != "Job" or not alike]
    index = COLUMNS.index(next(column for column in COLUMNS if column.title == "Job"))
    rows = [_cells(held, now) for held in found]
    return lay_out(shown, [[*row[:index], *row[index + 1 :]] for row in rows] if alike else rows, width)


def _cells(held: Held, now: datetime) -> list[Cell]:
    holder = held.holder
    return [
        cell(render.printable(held.lock.name)),
        cell(render.short_id(holder.run_id)),
        cell(render.printable(holder.job)),
        cell(render.state(holder.state)),
        cell(render.ago(held.since, now)),
        cell(render.rough_words(holder.expires_in)),
        cell(render.printable(holder.worker or "")),
    ]


def read_locks(context: Context) -> list[Held]:
    """Return the holders of all locks, by the locks' names, in a few round trips."""
    store = context.store
    locks = store.locks()
    records: dict[str | None, Record] = {record.id: record for record in store.running()} if locks else {}
    unknown = sorted({one.job for lock in locks for one in lock.holders if one.run_id not in records})
    for start in range(0, len(unknown), STATES_LIMIT):
        for state in store.states(unknown[start : start + STATES_LIMIT]).values():
            if state.last is not None:
                records[state.last.id] = state.last
    return [Held(lock, holder, _since(records.get(holder.run_id))) for lock in locks for holder in lock.holders]


def _since(record: Record | None) -> datetime | None:
    return None if record is None else record.started_at or record.claimed_at
