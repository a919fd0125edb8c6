"""The store's contract: small protocols, with verbs chosen by what must be atomic.

Leases that ended while a store was away say nothing of their workers, which could not renew: when it answers again,
each run whose lease ended meanwhile is kept for one more moment before its job may be claimed or it is called lost.

What holds for every verb: it is one atomic act; the store's own clock judges
every expiry; the same call repeated by the same caller gives the same answer
(a reply can be lost); a store that does not answer within ``legion_store_timeout``
raises :class:`~celery_legion.errors.StoreUnavailableError`, and then it is unknown
whether the verb took effect. A name or id that the store does not know is never an
error: the verb's docstring says what is returned for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from celery_legion.run import Record
from celery_legion.stores.attendance import WorkerInfo
from celery_legion.stores.data import (
    CLAIM_LIMIT,
    Admission,
    Answer,
    Aside,
    Claim,
    Debt,
    Granted,
    Holder,
    Interruption,
    JobState,
    Kept,
    Lapse,
    Lead,
    Lock,
    Outcome,
    Pause,
    Pulse,
    Renewal,
    Request,
    Retention,
    SchedulerInfo,
    Sight,
    StoreOptions,
    Ticket,
    Unsent,
    Verdict,
    debt_id,
)
from celery_legion.stores.runs import RunStore

__all__ = [
    "CLAIM_LIMIT",
    "Admission",
    "Answer",
    "Aside",
    "Claim",
    "Debt",
    "Granted",
    "Holder",
    "HookStore",
    "InboxStore",
    "Interruption",
    "JobState",
    "Kept",
    "Lapse",
    "Lead",
    "Lock",
    "Outcome",
    "Pause",
    "Pulse",
    "ReadingStore",
    "Renewal",
    "Request",
    "Retention",
    "RunStore",
    "ScheduleStore",
    "SchedulerInfo",
    "SchedulerStore",
    "Sight",
    "Store",
    "StoreOptions",
    "Ticket",
    "Unsent",
    "Verdict",
    "WakingStore",
    "WorkerInfo",
    "debt_id",
]


class SchedulerStore(Protocol):
    """What a scheduler asks each pass."""

    def pulse(
        self,
        owner: str,
        ttl: timedelta,
        since: int,
        limit: int,
        info: SchedulerInfo,
        done: datetime | None = None,
        serial: int = 0,
    ) -> Pulse:
        """Take the lead if it is free, renew it if it is *owner*'s, and read changes and the inbox.

        A take-over counts the epoch up by one. Registers the scheduler for :meth:`schedulers` under
        the same *ttl*. At most *limit* requests are read, oldest first; they stay until acknowledged.
        A leader says by *done* up to when all that was due is claimed; what it said before stands with None,
        and what the pulse that takes the lead says counts for nothing.
        A scheduler counts its pulses by *serial*, and so learns whether the store still has the last one.
        The answer carries the store's time, which schedulers go by where their hosts' clocks are off.
        """
        ...

    def resign(self, owner: str) -> bool:
        """Give up the lead and wake the standbys. False if *owner* does not lead."""
        ...

    def sight(self, prints: Mapping[str, str], mark: datetime) -> dict[str, Sight]:
        """Look the jobs up and remember those seen for the first time.

        *prints* maps each job's name to a fingerprint of its trigger. A new job gets *mark* as its mark
        and its anchor. A job whose fingerprint has changed keeps its anchor, and its mark moves up to
        *mark* (never back): changing a frequency fires nothing of the past. What the claim of a mark has noted is
        returned as long as the mark stands there. At most 500 names a call.
        """
        ...

    def remind(self, marks: Mapping[str, datetime]) -> list[str]:
        """Move the marks of these jobs up to what the caller knows, never back; returns which were behind.

        For a store that has lost what it had answered, as by a failover to a replica: an unknown message of a fire
        up to there begins (:meth:`RunStore.begin`). At most 500 names a call.
        """
        ...

    def claim(self, claims: Sequence[Claim], owner: str, epoch: int | None, lead_ttl: timedelta) -> list[Verdict]:
        """Give each fire to exactly one scheduler; verdicts come in the order of *claims*.

        In one act for all (at most 200): the owner still leads at this *epoch* (None = a one-shot, no lead
        needed), and for each claim the mark is still the expected one, the lock is free by its limit → the
        mark moves, the lock is taken for the run, the run is written as claimed with the job's last success until
        then, lapses and skips are written. A claim extends the lead by *lead_ttl*. A repeated claim by the same
        owner returns the same verdict.
        """
        ...

    def sent(self, ids: Sequence[str], astray: Collection[str] = ()) -> None:
        """Record that the broker has these runs' messages.

        Those of *astray* went to another queue than the claim said: theirs is not known from then on.

        A run that has begun meanwhile only loses its place among the unsent. An unwatched run is closed here:
        it stays ``sent(unwatched)``, counts as ended from then on, and begins no more. One that :meth:`unsent` has
        returned as lost is expected anew, with twice the time until it is taken for lost once more; when it was first
        sent, and its queue time, stay as they were.
        """
        ...

    def unsent(self, older_than: timedelta, limit: int, lost_after: timedelta | None = None) -> list[Unsent]:
        """Return runs whose message is to be sent again, by the store's clock; at most *limit*.

        First those claimed and not confirmed for longer than *older_than*, oldest first. Then, with *lost_after*, those
        whose message must have got lost: a sent run is missing from the moment at which its queue is known to have
        passed it by, because a run that was claimed after it was sent has begun (neither of them jumping the queue), or
        a worker of the queue was idle since; until it begins, a worker renews it (token 0), or it is sent again. One
        with a countdown counts as sent when that is over. Missing for longer than *lost_after*, doubled each time that
        it was sent again, it is lost; the longest missing come first. Each is told of once in *lost_after*, so that
        those that nobody sends again let others through. A run without a known queue is never lost, nor is the message
        of a retry.
        """
        ...

    def reap(self, limit: int) -> list[Record]:
        """End what nobody else will end, and return the ended records; at most *limit* of each sort.

        A running run whose lease is over becomes ``lost(process_lost)`` (one acknowledged late first gets its
        visibility timeout as grace, for its redelivery), a retrying one ``lost(retry_lost)``. A run that was sent and
        has not begun when its deadline has passed becomes ``expired(past_deadline)``, or when its queue time is over
        ``expired(queue)``. Their locks are released. Also trims what the retention no longer keeps.
        """
        ...

    def owed(self, limit: int, patience: timedelta) -> list[Debt]:
        """Return debts of hooks that are due, the longest due first, for the caller to send to a worker.

        Each is due again after *patience*, doubled each time up to an hour, unless a worker takes it meanwhile. One
        that is older than the ledger's age is dropped.
        """
        ...


class HookStore(Protocol):
    """What whoever runs hooks asks: each debt is given to one process at a time, until it is paid."""

    def take(self, debt: str, asker: str, lease: timedelta) -> Debt | None:
        """Give a debt to *asker* for *lease*; None if there is none of that id, or another's lease runs.

        The same asker again has its lease extended. What was added to the run since its end (exit code, output) is in
        the debt's record. One that five askers have taken and none has paid is dropped, with a note on the run: its
        hooks kill their process.
        """
        ...

    def hooked(self, debt: str, error: str | None) -> bool:
        """Pay a debt: its hooks have run. *error* is added to the run's record. False if there was none."""
        ...


class InboxStore(Protocol):
    """Pushes: requests to run a job now."""

    def push(self, request: Request) -> None:
        """Put a request into the inbox and wake the scheduler. The same id twice is one run."""
        ...

    def requests(self, limit: int) -> list[Request]:
        """Return at most *limit* requests that lie in the inbox, oldest first; they stay until acknowledged."""
        ...

    def ack(self, ids: Sequence[str]) -> None:
        """Take handled requests out of the inbox, which have been read from it. Unknown ids are passed over."""
        ...

    def put_aside(self, request_id: str, why: str) -> bool:
        """Take a request that cannot be handled out of the inbox, and keep it with the reason.

        The newest :data:`~celery_legion.stores.data.ASIDE_LIMIT` are kept, each with the first
        :data:`~celery_legion.stores.data.BODY_KEPT` characters of its body and of the reason. False if it is
        not in the inbox.
        """
        ...

    def asides(self, limit: int) -> list[Aside]:
        """Return at most *limit* requests that were put aside, newest first."""
        ...


class ScheduleStore(Protocol):
    """Live changes of the schedule, and who works."""

    def put(self, name: str, definition: str) -> int:
        """Store a job's definition (JSON) and wake the scheduler; returns the schedule's new version."""
        ...

    def drop(self, name: str) -> bool:
        """Remove a stored definition and wake the scheduler. False if there was none."""
        ...

    def definitions(self) -> dict[str, str]:
        """Return all stored definitions by name."""
        ...

    def pause(self, pause: Pause) -> int:
        """Pause a job, or with the name ``"*"`` all; returns the new version.

        Halves of surrogate pairs in the note become question marks: nobody could write them out.
        """
        ...

    def resume(self, name: str) -> bool:
        """Lift a pause. False if there was none."""
        ...

    def pauses(self) -> dict[str, Pause]:
        """Return the pauses in force by name; one whose ``until`` is over is not among them."""
        ...

    def register(self, info: WorkerInfo, lease: timedelta) -> None:
        """Register a worker that knows legion, with its queues, under a lease.

        What was sent to one of its queues before it was idle, and is held by nobody, is missing from now on
        (:meth:`SchedulerStore.unsent`). Whoever asks whether it is lost learns from ``info.remote`` who would answer.
        """
        ...


class ReadingStore(Protocol):
    """What people look at."""

    def states(self, names: Sequence[str]) -> dict[str, JobState]:
        """Return the state of each of *names*; a name never seen gets an empty state."""
        ...

    def runs(self, job: str | None, limit: int) -> list[Record]:
        """Return the newest records, newest first: of one job, or (None) of all, which is read in several acts."""
        ...

    def running(self) -> list[Record]:
        """Return the runs that have begun and not ended, those that wait for a retry included."""
        ...

    def locks(self) -> list[Lock]:
        """Return the locks that are held, by name."""
        ...

    def release(self, name: str | None) -> list[Lock]:
        """Free a lock whoever holds it, or (None) all; returns what was held.

        Runs go on, and one that has begun does not take its lock back, unless its retry begins.
        """
        ...

    def schedulers(self) -> list[Lead]:
        """Return the schedulers whose lease runs, the leader first; a standby has epoch 0."""
        ...

    def workers(self) -> list[WorkerInfo]:
        """Return the registered workers whose lease runs, by name."""
        ...

    def queues(self) -> frozenset[str]:
        """Return every queue for which a worker that knows legion was ever registered."""
        ...


class WakingStore(Protocol):
    """A nudge, never the data."""

    def wake(self) -> None:
        """Nudge every scheduler that waits."""
        ...

    def wait(self, timeout: timedelta) -> bool:
        """Block until nudged or for *timeout*; True if nudged. Really waits, also when nudges do not work."""
        ...

    def hurry(self, worker: str | None = None) -> None:
        """Nudge a worker, or (None) all, to renew now what they hold; :meth:`.RunStore.interrupt` does it by itself."""
        ...

    def hurried(self, worker: str, timeout: timedelta) -> bool:
        """Block until *worker* is nudged or for *timeout*; True if nudged.

        Called by one thread a store. Really waits, also when nudges do not work: then what is asked is learnt at the
        next renewal.
        """
        ...


class Store(SchedulerStore, HookStore, RunStore, InboxStore, ScheduleStore, ReadingStore, WakingStore, Protocol):
    """Everything a driver is."""

    def ping(self) -> None:
        """Return if the store answers."""
        ...

    def now(self) -> datetime:
        """Return the store's own time."""
        ...

    def warnings(self) -> list[str]:
        """Return what about this server endangers the promises (eviction, no persistence), one sentence each."""
        ...

    def forget_connections(self) -> None:
        """Drop every connection without talking on it: after a fork, or from a signal handler."""
        ...

    def close(self) -> None:
        """Close every connection. May be called twice."""
        ...
