"""Rows: each job with what the store knows of it, and what is known of schedulers and workers beside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from celery_legion.cli.fires import due_and_next, needs_anchor, next_fire, remembering, zone_of
from celery_legion.cli.render import took
from celery_legion.clock import MILLISECOND, isoformat
from celery_legion.context import Context
from celery_legion.control import error_in_line
from celery_legion.job import Job
from celery_legion.run import Reason, Record, State
from celery_legion.stores.base import JobState, Lead, Lock, Pause, WorkerInfo
from celery_legion.triggers import Cron, TriggerError
from celery_legion.triggers.asked import Asked
from celery_legion.triggers.words import describe

STATES_LIMIT = 500
EVERYTHING = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One job with what the store knows of it.

    ``running`` are its runs that have begun and not ended, the oldest first. ``next_run`` is its next fire by the
    schedule after now, which ``paused`` and ``enabled`` do not change; ``due`` the earliest fire that has passed and
    that the ledger does not account for yet. ``problem`` says why it cannot fire, or why that cannot be known.
    """

    job: Job
    state: JobState
    lock: Lock | None
    next_run: datetime | None
    due: datetime | None = None
    problem: str = ""
    running: tuple[Record, ...] = ()

    @property
    def duration(self) -> timedelta | None:
        """How long the last run took, None if it is not over or never began."""
        return None if self.state.last is None else took(self.state.last)

    @property
    def last_run(self) -> datetime | None:
        """When the last run began, or when it was claimed if it has not."""
        last = self.state.last
        return None if last is None else last.started_at or last.claimed_at

    @property
    def lapse(self) -> Record | None:
        """The skip or miss that came after the last run, if one did."""
        latest = self.state.latest
        return latest if latest is not None and latest.id is None else None

    @property
    def waiting(self) -> Record | None:
        """The newest run, if it has not begun."""
        last = self.state.last
        waits = last is not None and last.state in {State.CLAIMED, State.SENT} and last.reason != Reason.UNWATCHED
        return last if waits else None

    @property
    def unknown(self) -> bool:
        """Whether its times are not known, since they count from when a scheduler first sees it and none has."""
        return self.state.anchor is None and needs_anchor(self.job.trigger)

    @property
    def asked(self) -> bool:
        """Whether nobody knows its times ahead, since its schedule decides when it is asked."""
        return isinstance(self.job.trigger, Asked)

    @property
    def expected(self) -> datetime | None:
        """When the job will run next as far as is known: what is due, or the next fire; None if it will not."""
        pause = self.state.pause
        if not self.job.enabled or self.problem or (pause is not None and pause.until is None):
            return None
        if pause is not None and pause.until is not None and self.next_run is not None and self.next_run < pause.until:
            return next_fire(self.job.trigger.anchored(self.state.anchor or pause.until), pause.until - MILLISECOND)
        return self.due or self.next_run

    def dump(self) -> dict[str, Any]:
        """Return the row as JSON-ready data; instants are ISO 8601 in UTC, durations seconds."""
        job, last, lapse, trigger, pause = self.job, self.state.last, self.lapse, self.job.trigger, self.state.pause
        duration = self.duration
        return {
            "name": job.name,
            "action": job.action.readable,
            "schedule": describe(trigger),
            "expression": trigger.expression if isinstance(trigger, Cron) else None,
            "timezone": zone_of(trigger),
            "next_run": isoformat(self.next_run),
            "due": isoformat(self.due),
            "problem": self.problem or None,
            "last_run": isoformat(self.last_run),
            "last_id": None if last is None else last.id,
            "last_state": None if last is None else last.state.value,
            "last_reason": None if last is None else last.reason,
            "last_duration": None if duration is None else duration.total_seconds(),
            "last_error": None if last is None else last.error,
            "skipped": None if lapse is None else _dump_lapse(lapse),
            "running": [str(record.id) for record in self.running],
            "lock": None if self.lock is None else dump_lock(self.lock),
            "enabled": job.enabled,
            "paused": pause is not None,
            "pause": None if pause is None else dump_pause(pause),
            "description": job.description,
            "tags": list(job.tags),
            "queue": job.queue,
            "overlap": job.policy.overlap.value,
            "source": job.source.value,
            "place": job.place,
        }


def _dump_lapse(lapse: Record) -> dict[str, Any]:
    return {
        "state": lapse.state.value,
        "reason": lapse.reason,
        "count": lapse.count,
        "first": isoformat(lapse.fire_time),
        "last": isoformat(lapse.last_fire_time),
    }


def dump_pause(pause: Pause) -> dict[str, Any]:
    """Return a pause as JSON-ready data; ``all`` says that everything is paused, not this job alone."""
    return {
        "all": pause.name == EVERYTHING,
        "since": isoformat(pause.since),
        "until": isoformat(pause.until),
        "note": pause.note,
    }


def dump_lock(lock: Lock) -> dict[str, Any]:
    """Return a lock as JSON-ready data; durations are seconds."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Everything that a screen of jobs shows, read at one moment."""

    now: datetime
    rows: Sequence[Row]
    schedulers: Sequence[Lead]
    workers: Sequence[WorkerInfo]
    paused: Pause | None
    watched: bool
    late_after: timedelta
    default_queue: str | None
    timezone: str

    def zone_of(self, job: Job) -> str:
        """The zone that the job's times are shown in: its schedule's, or the app's if that has none."""
        return zone_of(job.trigger, self.timezone)

    def queue_of(self, job: Job) -> str | None:
        """The queue that the job's runs wait in, None if only the app's routes know."""
        return job.queue or self.default_queue

    @property
    def queues(self) -> frozenset[str]:
        """The queues that workers with Legion(app) consume now."""
        return frozenset(queue for worker in self.workers for queue in worker.queues)


def read_board(context: Context, jobs: Iterable[Job]) -> Board:
    """Return *jobs*, in their order, with what is known of them and of who schedules and works."""
    store, now = context.store, context.clock.now()
    rows = read_rows(context, jobs, now)
    routed = context.app.conf.task_routes
    return Board(
        now=now,
        rows=rows,
        schedulers=store.schedulers(),
        workers=store.workers(),
        paused=store.pauses().get(EVERYTHING),
        watched=context.enabled,
        late_after=context.config.late_after,
        timezone=context.config.timezone,
        default_queue=None if routed else str(context.app.conf.task_default_queue),
    )


def read_rows(context: Context, jobs: Iterable[Job], now: datetime) -> list[Row]:
    """Return a row for each of *jobs*, in their order, in a few round trips."""
    jobs = list(jobs)
    store = context.store
    locks: Mapping[str, Lock] = {lock.name: lock for lock in store.locks()}
    running: defaultdict[str, list[Record]] = defaultdict(list)
    for record in sorted(store.running(), key=lambda record: record.started_at or record.fire_time):
        running[record.job].append(record)
    states: dict[str, JobState] = {}
    for start in range(0, len(jobs), STATES_LIMIT):
        states.update(store.states([job.name for job in jobs[start : start + STATES_LIMIT]]))
    next_after = remembering()
    rows = []
    for job in jobs:
        state = states[job.name]
        due = following = None
        problem = job.problem
        if not problem:
            try:
                due, following = due_and_next(job, state, now, next_after)
            except Exception as exc:
                # A trigger may be a user's; the other rows have nothing to do with it.
                problem = str(exc) if isinstance(exc, TriggerError) else error_in_line(exc)
        rows.append(
            Row(
                job=job,
                state=state,
                lock=locks.get(job.lock),
                next_run=following,
                due=due,
                problem=problem,
                running=tuple(running.get(job.name, ())),
            )
        )
    return rows
