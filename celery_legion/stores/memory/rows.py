"""What the memory store holds: rows that change under its lock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from celery_legion.clock import EPOCH, from_ms, to_ms
from celery_legion.run import Kind, Reason, Record, State
from celery_legion.stores.base import Interruption, Lead, SchedulerInfo, WorkerInfo


def cut(moment: datetime) -> datetime:
    """Return *moment* in UTC, cut to whole milliseconds, as every store keeps it."""
    return from_ms(to_ms(moment))


def cut_or_none(moment: datetime | None) -> datetime | None:
    """Return *moment* cut to whole milliseconds, None for None."""
    return None if moment is None else cut(moment)


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """One run: its record, and what judges its messages. ``written`` orders it among all records."""

    id: str
    job: str
    kind: Kind
    fire_time: datetime
    lock: str
    limit: int
    lock_ttl: timedelta
    claimed_at: datetime
    written: tuple[datetime, int]
    state: State = State.CLAIMED
    reason: str | None = None
    message: str = ""
    queue: str | None = None
    jumps: bool = False
    deadline: datetime | None = None
    eta: datetime | None = None
    scheduler: str | None = None
    sent_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    attempt: int = 0
    token: int = 0
    worker: str | None = None
    pid: int | None = None
    exit_code: int | None = None
    error: str | None = None
    output: str | None = None
    partial: bool = False
    lease: datetime = EPOCH
    term: timedelta = timedelta(0)
    retry_at: datetime | None = None
    retries: int = 0
    asker: str | None = None
    accepted: bool = False
    late: bool = False
    visibility: timedelta = timedelta(0)
    watched: bool = True
    owes: frozenset[State] = frozenset()
    previous: datetime | None = None
    hook_error: str | None = None
    left: bool = False
    freed: bool = False
    spare: timedelta = timedelta(0)
    again: timedelta | None = None
    stop: Interruption | None = None
    refused: str | None = None

    @property
    def closed(self) -> bool:
        """Whether its record changes no more, unless it begins after all (:attr:`over`)."""
        return self.state.terminal or self.reason == Reason.UNWATCHED

    @property
    def begun(self) -> bool:
        """Whether a worker runs it, or will again."""
        return self.state in (State.RUNNING, State.RETRYING)

    @property
    def waiting(self) -> bool:
        """Whether it has not begun yet."""
        return self.state in (State.CLAIMED, State.SENT) and not self.closed

    @property
    def given_up(self) -> bool:
        """Whether it is lost with a message that may still turn up: a retry's, or one that was not acknowledged."""
        unacknowledged = self.late and self.reason == Reason.PROCESS_LOST
        return self.state is State.LOST and (self.reason == Reason.RETRY_LOST or unacknowledged)

    @property
    def over(self) -> bool:
        """Whether it has ended for good: what expired in its queue, was not sent, or was given up has not."""
        waits = (State.EXPIRED, Reason.QUEUE), (State.SKIPPED, Reason.NOT_SENT)
        return self.closed and not self.given_up and (self.state, self.reason) not in waits

    def record(self) -> Record:
        """Return what the ledger says of it."""
        return Record(
            id=self.id,
            job=self.job,
            kind=self.kind,
            fire_time=self.fire_time,
            last_fire_time=self.fire_time,
            state=self.state,
            reason=self.reason,
            claimed_at=self.claimed_at,
            sent_at=self.sent_at,
            started_at=self.started_at,
            ended_at=self.ended_at,
            attempt=self.attempt,
            token=self.token,
            worker=self.worker,
            pid=self.pid,
            exit_code=self.exit_code,
            error=self.error,
            output=self.output,
            scheduler=self.scheduler,
            previous_success=self.previous,
            hook_error=self.hook_error,
            retry_at=self.retry_at,
        )


@dataclass(slots=True, kw_only=True, eq=False)
class LapseRow:
    """Consecutive fires that became no run, as one record."""

    job: str
    kind: Kind
    state: State
    reason: str
    first: datetime
    last: datetime
    count: int
    since: datetime
    scheduler: str
    written: tuple[datetime, int]

    def record(self) -> Record:
        """Return what the ledger says of them."""
        return Record(
            id=None,
            job=self.job,
            kind=self.kind,
            fire_time=self.first,
            last_fire_time=self.last,
            state=self.state,
            reason=self.reason,
            count=self.count,
            claimed_at=self.since,
            ended_at=self.written[0],
            scheduler=self.scheduler,
        )


@dataclass(slots=True, kw_only=True)
class DebtRow:
    """Hooks that are owed: due at ``due``; taken by ``by`` until ``till``."""

    record: Record
    due: datetime
    by: str | None
    till: datetime
    since: datetime
    takes: int
    sends: int = 0


@dataclass(slots=True, kw_only=True)
class LeadRow:
    """The leader, until its lease is over."""

    owner: str
    epoch: int
    info: SchedulerInfo
    till: datetime
    done: datetime | None = None

    def lead(self, now: datetime) -> Lead:
        """Return it as the contract shows it."""
        return Lead(owner=self.owner, epoch=self.epoch, info=self.info, expires_in=self.till - now, done=self.done)


@dataclass(frozen=True, slots=True)
class Lease:
    """Something that is kept until a moment."""

    till: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerLease(Lease):
    """A scheduler that showed itself, and the number of its last pulse."""

    info: SchedulerInfo
    serial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLease(Lease):
    """A worker that registered."""

    info: WorkerInfo
