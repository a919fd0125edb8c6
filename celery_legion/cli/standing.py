"""Where a job stands, in one word with its detail, and in sentences for who asks why."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.text import Text

from celery_legion.cli import render
from celery_legion.cli.row import EVERYTHING, Board, Row
from celery_legion.cli.session import addressed
from celery_legion.job import Overlap
from celery_legion.run import Reason, Record, State
from celery_legion.stores.base import Pause
from celery_legion.triggers.zones import get_zone

STYLES = {
    "idle": "dim",
    "disabled": "dim",
    "sent": "dim",
    "running": "cyan",
    "retrying": "cyan",
    "unsent": "yellow",
    "paused": "yellow",
    "late": "bold red",
    "broken": "bold red",
    "no scheduler": "red",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """A job's state.

    One of: idle, sent (no worker reports on it), unsent (claimed, and the broker is not known to have it), queued,
    running, retrying, paused, disabled, broken, late, unseen, or no scheduler.

    ``stuck`` says that it stays so until somebody does something.
    """

    word: str
    detail: str = ""
    stuck: bool = False

    @property
    def text(self) -> Text:
        """The state as it stands in a table, with its detail."""
        return Text.assemble(self.styled, f" {self.detail}" if self.detail else "")

    @property
    def styled(self) -> Text:
        """The word in its colour."""
        return Text(self.word, style="red" if self.stuck else STYLES.get(self.word, ""))


def dump_row(row: Row, board: Board) -> dict[str, Any]:
    """Return a row as JSON-ready data with the job's state, in one word and with its detail."""
    found = standing(row, board)
    return {**row.dump(), "state": found.word, "detail": found.detail}


def standing(row: Row, board: Board) -> Standing:
    """Return where a job stands. A run that is on its way comes before what keeps the next one from coming."""
    found = _on_its_way(row, board)
    held = _held_back(row, board)
    if found is None:
        last = row.state.last
        unheard = last is not None and last.reason == Reason.UNWATCHED
        return held or (Standing("sent", "and nobody reports its end") if unheard else Standing("idle"))
    if held is not None and held.word in {"paused", "disabled"}:
        return Standing(found.word, f"{found.detail}; {held.word}")
    return found


def _on_its_way(row: Row, board: Board) -> Standing | None:
    now = board.now
    if row.running:
        first, times = row.running[0], f" ×{len(row.running)}" if len(row.running) > 1 else ""
        where = f"{times}{_where(first, board)}"
        if all(record.state is State.RETRYING for record in row.running):
            due = f"attempt {first.attempt}" if first.retry_at is None else _due_words(first.retry_at, now)
            return Standing("retrying", f"{due}{where}")
        return Standing("running", f"for {render.rough_words(now - (first.started_at or now))}{where}")
    if (waiting := row.waiting) is not None:
        words = f"for {render.coarse_words(now - _since(waiting))}"
        if waiting.state is State.CLAIMED:
            return Standing("unsent", words)
        nobody = _nobody(row, board)
        return Standing("queued", f"{words}{nobody}", bool(nobody))
    return None


def _where(record: Record, board: Board) -> str:
    """Return on which worker a run is, and whether that is there no more."""
    if not record.worker:
        return ""
    worker = render.printable(record.worker)
    return f" on {worker}" if _is_there(record, board) else f", {worker} is gone"


def _is_there(record: Record, board: Board) -> bool:
    """Return whether a run's worker has said within its lease that it lives."""
    return any(worker.name == record.worker for worker in board.workers)


def _due_words(moment: datetime, now: datetime) -> str:
    return f"in {render.rough_words(moment - now)}" if moment > now else f"due {render.rough_words(now - moment)} ago"


def _nobody(row: Row, board: Board) -> str:
    """Return that nobody will begin what waits, if that is so."""
    queue = board.queue_of(row.job)
    if not board.watched or queue is None or queue in board.queues:
        return ""
    return f", no worker for {render.printable(queue)}" if board.workers else ", no worker"


def _held_back(row: Row, board: Board) -> Standing | None:
    """Return what keeps the next run from coming."""
    if not row.job.enabled:
        return Standing("disabled")
    if row.problem:
        return Standing("broken")
    if row.state.pause is not None:
        return Standing("paused", pause_words(row.state.pause, board.now, board.zone_of(row.job)))
    if row.due is not None and board.now - row.due > board.late_after:
        return Standing(
            "late", f"by {render.rough_words(board.now - row.due)}" + ("" if board.schedulers else ": no scheduler")
        )
    if not board.schedulers:
        return Standing("no scheduler")
    if row.state.mark is None:
        return Standing("unseen")
    return None


def pause_words(pause: Pause, now: datetime, zone: str) -> str:
    """Return until when a pause holds and why, in short."""
    until = "" if pause.until is None else f"until {moment_words(pause.until, now, zone)}"
    note = f"“{render.printable(pause.note)}”" if pause.note else ""
    return ", ".join(filter(None, (until, note)))


def moment_words(moment: datetime, now: datetime, zone: str) -> str:
    """Return a moment in a zone: the time alone if it is of today there, else with its day."""
    local, today = moment.astimezone(get_zone(zone)), now.astimezone(get_zone(zone))
    at = f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"
    if local.date() == today.date():
        return at
    return f"{local:%a} {at}" if abs((local.date() - today.date()).days) < 7 else f"{local:%Y-%m-%d} {at}"


def _since(record: Record) -> datetime:
    return record.sent_at or record.claimed_at or record.fire_time


def explain(row: Row, board: Board) -> list[str]:
    """Return why a job stands as it does, in sentences that say what to do where something can be done."""
    return [addressed(why) for why in (*_of_runs(row, board), *_of_schedule(row, board))]


def _of_runs(row: Row, board: Board) -> Iterator[str]:
    now, job = board.now, row.job
    for record in row.running:
        since = f"{render.rough_words(now - (record.started_at or now))} ago"
        # When it began, not when this attempt did: nobody writes that down.
        begun = f"began {since}, is at its attempt {record.attempt}" if record.attempt > 1 else f"began {since}"
        where = f" on {render.printable(record.worker)}" if record.worker else ""
        run = render.short_id(record.id)
        words = f"run {run} {begun}{where}{_retry_words(record, row, board)}{_gone_words(record, board)}"
        yield f"{words}; `celery legion interrupt {run}` ends it"
    if (waiting := row.waiting) is not None:
        yield f"run {render.short_id(waiting.id)} is {_why_queued(waiting, row, board)}"
    if (lapse := row.lapse) is not None:
        times = (
            f" {lapse.count} times since {moment_words(lapse.fire_time, now, board.zone_of(job))}"
            if lapse.count > 1
            else ""
        )
        yield f"{lapse.state.value}{times}: {render.reason_words(lapse.reason)}{_held_by(lapse, row, board)}"


def _retry_words(record: Record, row: Row, board: Board) -> str:
    """Return that a run waits for its retry, and when that is due."""
    if record.state is not State.RETRYING:
        return ""
    due = record.retry_at
    if due is None:
        return " and waits for its retry"
    zone = board.zone_of(row.job)
    return f" and waits for its retry at {moment_words(due, board.now, zone)} ({_due_words(due, board.now)})"


def _gone_words(record: Record, board: Board) -> str:
    """Return what becomes of a run whose worker is there no more."""
    if not record.worker or _is_there(record, board):
        return ""
    # A worker that ends hands its retries over; one that dies leaves its runs to their leases.
    goes_on = "another worker may still get its message" if record.state is State.RETRYING else "its lease will run out"
    return f"; that worker is there no more, {goes_on}"


def _why_queued(waiting: Record, row: Row, board: Board) -> str:
    for_ = render.rough_words(board.now - _since(waiting))
    if waiting.state is State.CLAIMED:
        return f"claimed for {for_} and not known to be sent: is the broker away?"
    queue = board.queue_of(row.job)
    if not board.workers:
        return f"queued for {for_}: no worker with Legion(app) is running, and one without it reports nothing"
    if queue is not None and queue not in board.queues:
        cure = f"start one with -Q {shlex.quote(render.printable(queue))}"
        return f"queued for {for_}: no worker with Legion(app) consumes queue {queue!r}; {cure}"
    return f"queued for {for_}: the workers are busy with other runs, or have not come to it yet"


def _held_by(lapse: Record, row: Row, board: Board) -> str:
    """Return which run holds the lock that an overlap was skipped for."""
    if lapse.reason != Reason.OVERLAP or row.lock is None or not row.lock.holders:
        return ""
    holder = row.lock.holders[0]
    whose = "" if holder.job == row.job.name else f" of {render.printable(holder.job)}"
    where = f" on {render.printable(holder.worker)}" if holder.worker else ", which has not begun"
    return f"; run {render.short_id(holder.run_id)}{whose} holds the lock{where}"


def _of_schedule(row: Row, board: Board) -> Iterator[str]:
    job, pause = row.job, row.state.pause
    if not job.enabled:
        yield "disabled where it is written: it does not fire"
    if row.problem:
        yield f"it does not fire: {render.printable(row.problem)}"
    if pause is not None:
        whose = "everything is" if pause.name == EVERYTHING else "it is"
        since = moment_words(pause.since, board.now, board.zone_of(job))
        words = pause_words(pause, board.now, board.zone_of(job))
        name = "" if pause.name == EVERYTHING else f" {shlex.quote(render.printable(job.name))}"
        yield f"{whose} paused since {since}{words and f' {words}'}; `celery legion resume{name}` lifts it"
    elif row.due is not None and board.now - row.due > board.late_after:
        yield f"late: its fire of {moment_words(row.due, board.now, board.zone_of(job))} is not accounted for yet"
    if not board.schedulers:
        yield "no scheduler is running: `celery legion work` is one, and so is beat with `-S celery_legion.Scheduler`"
    elif row.state.mark is None and job.enabled and not row.problem:
        yield "no scheduler has seen it yet: does the running one have the code that names it? restart it"
    if row.asked and job.enabled:
        yield "its schedule decides when it is asked, so nobody knows its next fire"
    elif row.next_run is None and job.enabled and not row.unknown and not row.problem:
        yield "its schedule has no fire left"
    if board.watched and not board.workers and row.waiting is None:
        yield "no worker with Legion(app) is running: what is sent waits in its queue"
    if not board.watched and job.policy.overlap is Overlap.ALLOW:
        yield "without Legion(app) in the app, nobody reports how its runs end"
