"""``celery legion history``: the ledger, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click
from rich.text import Text

from celery_legion.cli import render
from celery_legion.cli.grid import Cell, Column, cell, lay_out, wrap, write_lines, write_plain
from celery_legion.cli.names import JobName
from celery_legion.cli.session import Command, open_context
from celery_legion.clock import isoformat
from celery_legion.context import Context
from celery_legion.errors import UnknownJobError
from celery_legion.run import Kind, Record, State
from celery_legion.triggers.zones import get_zone

STRETCH = 2_000
"""Newest records that failures are picked from."""

FULL_IDS = 150
"""A terminal of this width shows whole ids."""

WORKERS = 100
"""A terminal of this width has a column of workers; in a narrower one they stand below what went wrong."""

WAITING = {State.CLAIMED: "not sent yet", State.SENT: "waits for a worker"}

FAILED = frozenset({State.FAILED, State.LOST, State.INTERRUPTED, State.EXPIRED, State.MISSED})


def dump(record: Record) -> dict[str, Any]:
    """Return a record as JSON-ready data; instants are ISO 8601 in UTC."""
    return {
        "id": record.id,
        "job": record.job,
        "kind": record.kind.value,
        "fire_time": isoformat(record.fire_time),
        "last_fire_time": isoformat(record.last_fire_time),
        "state": record.state.value,
        "reason": record.reason,
        "count": record.count,
        "claimed_at": isoformat(record.claimed_at),
        "sent_at": isoformat(record.sent_at),
        "started_at": isoformat(record.started_at),
        "ended_at": isoformat(record.ended_at),
        "exit_code": record.exit_code,
        "worker": record.worker,
        "pid": record.pid,
        "scheduler": record.scheduler,
        "attempt": record.attempt,
        "retry_at": isoformat(record.retry_at),
        "token": record.token,
        "error": record.error,
        "hook_error": record.hook_error,
        "output": record.output,
    }


@click.command("history", cls=Command)
@click.argument("job", required=False, type=JobName())
@click.option("--failed", is_flag=True, help="Only what went wrong: failed, lost, interrupted, expired, missed.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many records.")
@click.option("--json", "as_json", is_flag=True, help="A JSON array of records; instants are ISO 8601 in UTC.")
@click.pass_context
def command(ctx: click.Context, job: str | None, failed: bool, limit: int, as_json: bool) -> None:
    """Show what ran, what was skipped and why, newest first.

    \b
    Examples: celery -A shop legion history shop.nightly_report --limit 5
              celery -A shop legion history --failed

    Columns: when it was due (of several that were skipped for one reason, the last), the job, what came of it and how
    often, how long it took, the worker, and the run's id, or enough of it for other commands. Below: why, in words with
    its code, then error, exit code, and the last line of output.
    """
    context = open_context(ctx)
    if job is not None:
        _check(context, job)
    # Failures are picked from a longer stretch, so that --limit counts what is shown.
    records = context.store.runs(job, STRETCH if failed else limit)
    if failed:
        records = [record for record in records if record.state in FAILED][:limit]
    if as_json:
        render.write_json([dump(record) for record in records])
        return
    out = render.console()
    if not records:
        # A program that counts lines finds none.
        click.echo(
            "nothing has gone wrong among the newest records" if failed else "nothing has run yet",
            err=not out.is_terminal,
        )
        return
    now, zone = context.clock.now(), context.config.timezone
    if out.is_terminal:
        write_lines(screen(records, now, zone, out.width), out)
    else:
        write_plain(plain_columns(zone), [plain_row(record, now, zone) for record in records])


def _check(context: Context, job: str) -> None:
    """Refuse a name that neither the schedule nor the ledger knows."""
    jobs = context.registry.jobs
    if job not in jobs and context.store.states([job])[job].latest is None:
        raise UnknownJobError(job, jobs)


def plain_columns(zone: str) -> list[Column]:
    """Return the columns for a program to read; the last holds what a terminal shows below."""
    titles = (f"Due ({zone})", "Job", "Outcome", "Count", "Took", "Worker", "Run", "Detail")
    return [Column(title) for title in titles]


def plain_row(record: Record, now: datetime, zone: str) -> list[Cell]:
    """Return one record for a program to read."""
    return [
        cell(f"{record.last_fire_time.astimezone(get_zone(zone)):%Y-%m-%d %H:%M:%S}"),
        cell(render.printable(record.job)),
        cell(record.state.value),
        cell(str(record.count)),
        cell(_took(record, now)),
        cell(render.printable(record.worker or "")),
        cell(render.printable(record.id or "")),
        cell("; ".join(detail(record, now, zone))),
    ]


def screen(records: Sequence[Record], now: datetime, zone: str, width: int, *, job: bool = True) -> list[Text]:
    """Return the lines of records for a terminal; *job* False leaves their job's name out."""
    wide, aside = width >= FULL_IDS, not job or width >= WORKERS
    stamp = stamp_format(records, now, zone)
    columns = [
        Column(f"Due ({zone})"),
        *([Column("Job", least=16)] if job else []),
        Column("Outcome", least=11),
        Column("Took", right=True),
        *([Column("Worker", spare=True)] if aside else []),
        Column("Run", least=render.SHORT_ID),
    ]
    rows, below = [], []
    for record in records:
        due = record.last_fire_time.astimezone(get_zone(zone))
        times = f" ×{render.size_words(record.count)}" if record.count > 1 else ""
        name = [cell(render.printable(record.job))] if job else []
        run = render.printable(record.id or "") if wide else render.short_id(record.id) if record.id else ""
        rows.append(
            [
                cell(due.strftime(stamp)),
                *name,
                cell(Text.assemble(render.state(record.state), times)),
                cell(_took(record, now)),
                *([cell(render.printable(record.worker or ""))] if aside else []),
                cell(run),
            ]
        )
        where = [f"on {render.printable(record.worker)}"] if record.worker and not aside else []
        # Where a run succeeded is seldom asked; it is in wider terminals and in the JSON.
        words = "; ".join([*detail(record, now, zone), *(where if record.state is not State.SUCCEEDED else [])])
        below.append(wrap(Text(f"    {words}", style="dim"), width) if words else [])
    return lay_out(columns, rows, width, after=below)


def stamp_format(records: Sequence[Record], now: datetime, zone: str) -> str:
    """Return how moments are written: with as much of the date as tells them apart from today."""
    local = get_zone(zone)
    today = now.astimezone(local).date()
    days = {record.fire_time.astimezone(local).date() for record in records}
    if days <= {today}:
        return "%H:%M:%S"
    return "%b %d %H:%M:%S" if {day.year for day in days} <= {today.year} else "%Y-%m-%d %H:%M:%S"


def _took(record: Record, now: datetime) -> str:
    if record.started_at is None:
        return ""
    span = render.took(record)
    return f"{render.rough_words(now - record.started_at)} so far" if span is None else render.span_words(span)


def detail(record: Record, now: datetime, zone: str) -> list[str]:
    """Return what else matters of a record: since when, why, which error, what it said last."""
    found = []
    if record.count > 1:
        found.append(f"since {record.fire_time.astimezone(get_zone(zone)).strftime(stamp_format([record], now, zone))}")
    found.append(render.reason_words(record.reason) or WAITING.get(record.state, ""))
    if record.kind is not Kind.SCHEDULED:
        found.append(record.kind.value)
    if record.attempt > 1:
        found.append(f"attempt {record.attempt}")
    error = render.error_words(record.error)
    found.append(error)
    if record.exit_code and f"code {record.exit_code}" not in error:
        found.append(f"exit code {record.exit_code}")
    if record.state in FAILED and (said := render.last_line(record.output)) and said not in error:
        found.append(f"said: {said}")
    if record.hook_error:
        found.append(f"hook failed: {render.error_words(record.hook_error)}")
    return [words for words in found if words]
