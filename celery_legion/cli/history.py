"""``celery legion history``: the ledger, newest first."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click
from rich.text import Text

from celery_legion.cli import render
from celery_legion.cli.session import Command, open_context
from celery_legion.clock import isoformat
from celery_legion.context import Context
from celery_legion.errors import UnknownJobError
from celery_legion.run import Record, State

STRETCH = 2_000
"""Newest records that failures are picked from."""

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
        "started_at": isoformat(record.started_at),
        "ended_at": isoformat(record.ended_at),
        "exit_code": record.exit_code,
        "worker": record.worker,
        "pid": record.pid,
        "attempt": record.attempt,
        "token": record.token,
        "error": record.error,
        "hook_error": record.hook_error,
        "output": record.output,
    }


@click.command("history", cls=Command)
@click.argument("job", required=False)
@click.option("--failed", is_flag=True, help="Only what went wrong: failed, lost, interrupted, expired, missed.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many records.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per record; instants are ISO 8601 in UTC.")
@click.pass_context
def command(ctx: click.Context, job: str | None, failed: bool, limit: int, as_json: bool) -> None:
    """Show what ran, what was skipped and why, newest first.

    Example: celery -A shop legion history shop.nightly_report --limit 5
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
    if not records:
        click.echo("nothing has gone wrong" if failed else "nothing has run yet")
        return
    now = context.clock.now()
    out = render.console()
    out.print(_table(records, now, wide=out.width >= 120))


def _check(context: Context, job: str) -> None:
    """Refuse a name that neither the schedule nor the ledger knows."""
    jobs = context.registry.jobs
    if job not in jobs and context.store.states([job])[job].latest is None:
        raise UnknownJobError(job, jobs)


def _table(records: list[Record], now: datetime, wide: bool) -> Any:
    columns: list[str | tuple[str, dict[str, Any]]] = [
        ("Fire (UTC)", {"no_wrap": True}),
        ("Job", {"overflow": "fold", "min_width": 12}),
        ("State", {"overflow": "fold", "min_width": 9}),
        ("Took", {"no_wrap": True}),
        ("Try", {"no_wrap": True, "justify": "right"}),
    ]
    if wide:
        columns += [
            ("Kind", {"no_wrap": True}),
            ("Worker", {"overflow": "fold"}),
            ("Error", {"overflow": "fold"}),
            "Run",
        ]
    return render.table(columns, [_cells(record, now, wide) for record in records])


def _cells(record: Record, now: datetime, wide: bool) -> list[Text | str]:
    took = "–"
    if record.started_at is not None:
        took = render.span_words((record.ended_at or now) - record.started_at)
    words = render.state(record.state, record.reason)
    if record.count > 1:
        words.append(f" ×{render.size_words(record.count)}")
    cells: list[Text | str] = [
        f"{record.last_fire_time:%Y-%m-%d %H:%M:%S}",
        render.printable(record.job),
        words,
        took,
        str(record.attempt or "–"),
    ]
    if wide:
        cells += [
            record.kind.value,
            record.worker or "–",
            render.printable(record.error or "–").partition("\\n")[0][:200],
            record.id or "–",
        ]
    return cells
