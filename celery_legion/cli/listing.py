"""``celery legion list``: the dashboard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import click
from rich.text import Text

from celery_legion.cli import render
from celery_legion.cli.session import Command, open_context
from celery_legion.clock import isoformat
from celery_legion.context import Context
from celery_legion.job import Job
from celery_legion.stores.base import JobState, Lock
from celery_legion.triggers import Cron, Interval, TriggerError
from celery_legion.triggers.words import describe

STATES_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Row:
    """One job with what the store knows of it."""

    job: Job
    state: JobState
    lock: Lock | None
    next_run: datetime | None

    @property
    def duration(self) -> timedelta | None:
        """How long the last run took, None if it is not over or never began."""
        last = self.state.last
        if last is None or last.started_at is None or last.ended_at is None:
            return None
        return last.ended_at - last.started_at

    @property
    def last_run(self) -> datetime | None:
        """When the last run began, or when it was claimed if it has not."""
        last = self.state.last
        return None if last is None else last.started_at or last.claimed_at

    def dump(self) -> dict[str, Any]:
        """Return the row as JSON-ready data; instants are ISO 8601 in UTC, durations seconds."""
        job, last, trigger = self.job, self.state.last, self.job.trigger
        duration = self.duration
        return {
            "name": job.name,
            "action": job.action.readable,
            "schedule": describe(trigger),
            "expression": trigger.expression if isinstance(trigger, Cron) else None,
            "timezone": str(getattr(trigger, "timezone", "UTC")),
            "next_run": isoformat(self.next_run),
            "last_run": isoformat(self.last_run),
            "last_state": None if last is None else last.state.value,
            "last_duration": None if duration is None else duration.total_seconds(),
            "lock": None if self.lock is None else _dump_lock(self.lock),
            "paused": self.state.pause is not None,
            "tags": list(job.tags),
            "queue": job.queue,
            "source": job.source.value,
        }


def _dump_lock(lock: Lock) -> dict[str, Any]:
    return {
        "name": lock.name,
        "holders": [
            {
                "run": holder.run_id,
                "job": holder.job,
                "state": holder.state.value,
                "expires_in": holder.expires_in.total_seconds(),
                "worker": holder.worker,
            }
            for holder in lock.holders
        ],
    }


def read_rows(context: Context, jobs: Iterable[Job], now: datetime) -> list[Row]:
    """Return a row for each of *jobs*, in their order, in a few round trips."""
    jobs = list(jobs)
    store = context.store
    locks: Mapping[str, Lock] = {lock.name: lock for lock in store.locks()}
    states: dict[str, JobState] = {}
    for start in range(0, len(jobs), STATES_LIMIT):
        states.update(store.states([job.name for job in jobs[start : start + STATES_LIMIT]]))
    return [
        Row(job=job, state=states[job.name], lock=locks.get(job.lock), next_run=_next_run(job, states[job.name], now))
        for job in jobs
    ]


def _next_run(job: Job, state: JobState, now: datetime) -> datetime | None:
    if not job.enabled:
        return None
    if state.anchor is None and isinstance(job.trigger, Interval) and job.trigger.anchor is None:
        # No scheduler has seen the job yet, and its interval counts from then.
        return None
    try:
        return job.trigger.anchored(state.anchor or now).next_after(now)
    except (TriggerError, ValueError, OverflowError):
        return None


@click.command("list", cls=Command)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per job; instants are ISO 8601 in UTC.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show every job: its schedule, its next run, and how the last one went.

    Example: celery -A shop legion list
    """
    context = open_context(ctx)
    jobs = context.registry.jobs
    now = context.clock.now()
    rows = read_rows(context, jobs.values(), now)
    if as_json:
        render.write_json([row.dump() for row in rows])
        return
    if not rows:
        click.echo("no jobs: decorate a function with @scheduled(...), or use legion.call(...)")
        return
    rows.sort(key=lambda row: (row.next_run is None, row.next_run, row.job.name))
    out = render.console()
    out.print(_table(rows, now, wide=out.width >= 120))


def _table(rows: list[Row], now: datetime, wide: bool) -> Any:
    columns: list[str | tuple[str, dict[str, Any]]] = [
        ("Job", {"overflow": "fold", "ratio": None, "min_width": 12}),
        ("Schedule", {"overflow": "fold", "min_width": 16}),
        ("Next", {"no_wrap": True}),
        ("Last", {"no_wrap": True}),
        ("State", {"overflow": "fold", "min_width": 9}),
    ]
    if wide:
        columns += [("Took", {"no_wrap": True}), ("Lock", {"no_wrap": True}), "Queue", "Tags"]
    return render.table(columns, [_cells(row, now, wide) for row in rows])


def _cells(row: Row, now: datetime, wide: bool) -> list[Text | str]:
    latest = row.state.latest
    paused = row.state.pause is not None
    cells: list[Text | str] = [
        render.printable(row.job.name),
        describe(row.job.trigger),
        Text("paused", style="yellow") if paused else render.ago(row.next_run, now) if row.job.enabled else "disabled",
        render.ago(row.last_run, now),
        render.state(latest.state if latest else None, latest.reason if latest else None),
    ]
    if wide:
        held = row.lock.holders[0] if row.lock else None
        cells += [
            "–" if row.duration is None else render.span_words(row.duration),
            "–" if held is None else f"{held.state.value}, {render.span_words(held.expires_in)}",
            row.job.queue or "–",
            ", ".join(row.job.tags) or "–",
        ]
    return cells
