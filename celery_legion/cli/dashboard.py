"""The dashboard's cells: what each column of ``legion list`` says of a job, wide or stacked in two lines."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from rich.text import Text

from celery_legion.cli import render
from celery_legion.cli.grid import Cell, Column, cell
from celery_legion.cli.row import Board, Row
from celery_legion.cli.session import addressed
from celery_legion.cli.standing import pause_words, standing
from celery_legion.engine.company import unguarded_leader
from celery_legion.triggers.words import describe

WIDE = (
    Column("Job", least=20),
    Column("Schedule", least=18),
    Column("Next", least=10),
    Column("Last", least=22),
    Column("State", least=16),
    Column("Lock, left", least=12),
    Column("Queue", spare=True),
    Column("Tags", spare=True),
)
PROBLEMS = 5
"""Most jobs whose problem stands above the table."""

STACKED = (
    Column("Job\n  Schedule", least=22),
    Column("Next", least=10),
    Column("State\nLock, left", least=18),
    Column("Last\nSkipped", least=18),
)


def rows_of(rows: Iterable[Row], board: Board, *, stacked: bool = False) -> list[list[Cell]]:
    """Return the cells of each row, for :data:`WIDE` or for :data:`STACKED`."""
    return [_stacked(row, board) if stacked else _wide(row, board) for row in rows]


def _wide(row: Row, board: Board) -> list[Cell]:
    return [
        cell(render.printable(row.job.name)),
        cell(render.printable(describe(row.job.trigger))),
        cell(_next(row, board.now)),
        cell(last_words(row, board.now)),
        cell(standing(row, board).text),
        cell(lock_words(row)),
        cell(render.printable(row.job.queue or "")),
        cell(render.printable(", ".join(row.job.tags))),
    ]


def _stacked(row: Row, board: Board) -> list[Cell]:
    lock, schedule = lock_words(row), render.printable(describe(row.job.trigger))
    return [
        cell(render.printable(row.job.name), Text(f"  {schedule}", style="dim")),
        cell(_next(row, board.now)),
        cell(standing(row, board).text, Text.assemble("lock ", lock, style="dim") if lock else ""),
        cell(_last(row, board.now), _lapse(row, board.now)),
    ]


def _next(row: Row, now: datetime) -> Text:
    if row.expected is None:
        if row.asked and row.job.enabled and row.state.pause is None:
            return Text("not known", style="dim")
        known = row.next_run is None and row.job.enabled and not row.unknown and not row.problem
        return Text("never" if known else render.NONE, style="dim")
    if row.expected <= now:
        return Text(f"due {render.rough_words(now - row.expected)} ago", style="yellow")
    return Text(render.ago(row.expected, now))


def last_words(row: Row, now: datetime) -> Text:
    """Return how the last run ended, and what was skipped or missed since."""
    return Text("; ").join(part for part in (_last(row, now), _lapse(row, now)) if part)


def _last(row: Row, now: datetime) -> Text:
    """How the last run ended; while it is on its way, when one succeeded before it."""
    last = row.state.last
    if last is None:
        return Text("never ran" if row.lapse is None else "", style="dim")
    if row.waiting is not None or not (last.state.terminal or last.reason is not None):
        before = last.previous_success
        return Text("no success yet" if before is None else f"last success {_past(before, now)}", style="dim")
    words = Text(last.state.value, style=render.STYLES.get(last.state, ""))
    words.append(f" {_past(last.ended_at or last.sent_at or last.last_fire_time, now)}", style="default")
    duration = row.duration
    if duration is not None:
        words.append(f", {render.span_words(duration)}", style="default")
    if last.reason is not None:
        words.append(f" ({render.printable(last.reason)})", style="default")
    return words


def _past(moment: datetime, now: datetime) -> str:
    return f"{render.coarse_words(now - moment)} ago"


def _lapse(row: Row, now: datetime) -> Text:
    """The skip or miss that came after the last run."""
    lapse = row.lapse
    if lapse is None:
        return Text()
    words = Text(lapse.state.value, style=render.STYLES.get(lapse.state, ""))
    times = f" ×{render.size_words(lapse.count)}" if lapse.count > 1 else ""
    words.append(f" {render.printable(lapse.reason or '')}{times}")
    return words


def lock_words(row: Row, left: str = "") -> str:
    """Return which run holds the job's lock, and for how long if nothing is heard of it; empty if none does."""
    lock = row.lock
    if lock is None or not lock.holders:
        return ""
    holder, *others = lock.holders
    words = f"{render.short_id(holder.run_id)} {render.coarse_words(holder.expires_in)}{left}"
    if holder.job != row.job.name:
        words += f", {render.printable(holder.job)}"
    return words + (f" +{len(others)}" if others else "")


def by_next_fire(row: Row) -> tuple[bool, datetime, str]:
    """Return what orders rows by when they run next; what will not run comes last, all by name among equals."""
    expected = row.expected
    return expected is None, expected or datetime.max.replace(tzinfo=UTC), row.job.name


def summary(board: Board) -> Text:
    """Return how many jobs there are, who leads and who works, in one line."""
    parts = [render.counted(len(board.rows), "job")]
    if board.schedulers:
        leader, *standbys = board.schedulers
        name = f"{leader.info.host}:{leader.info.pid}"
        parts.append(f"{'leader' if leader.epoch else 'no leader yet, standby'} {render.printable(name)}")
        if standbys:
            parts.append(render.counted(len(standbys), "standby"))
    if board.watched and board.workers:
        parts.append(render.counted(len(board.workers), "worker"))
    return Text(" · ".join(parts), style="dim")


def notices(board: Board) -> list[Text]:
    """Return what a person must know before anything else, one line each."""
    found = []
    if not board.schedulers:
        start = "`celery legion work` starts one, and so does beat with -S celery_legion.Scheduler"
        found.append((f"no scheduler is running, so nothing fires: {start}", "bold red"))
    if board.watched and (leader := next((lead for lead in board.schedulers if lead.epoch), None)) is not None:
        found += [] if leader.info.guarded else [(unguarded_leader(leader, "this app"), "bold red")]
    places = sorted({lead.info.place for lead in board.schedulers} - {""})
    if len(places) > 1:
        where = render.printable(" and ".join(places))
        cure = "if these are two deployments, give each a legion_key_prefix of its own"
        found.append((f"schedulers of {where} share one schedule, and only the leader sends: {cure}", "bold red"))
    if board.watched and not board.workers:
        found.append(("no worker with Legion(app) is running: start one, or nothing runs", "bold red"))
    if not board.watched:
        found.append(("Legion(app) is not in this app, so its workers do not say how runs end", "yellow"))
    wrong = [row for row in board.rows if row.problem]
    for row in wrong[:PROBLEMS]:
        found.append((f"{render.printable(row.job.name)} does not fire: {render.printable(row.problem)}", "bold red"))
    if len(wrong) > PROBLEMS:
        found.append((f"{len(wrong) - PROBLEMS} more jobs do not fire; `celery legion show` says why", "bold red"))
    if board.paused is not None:
        words = pause_words(board.paused, board.now, board.timezone)
        found.append((f"everything is paused{words and f' {words}'}; `celery legion resume` lifts it", "bold yellow"))
    return [Text(addressed(words), style=style) for words, style in found]
