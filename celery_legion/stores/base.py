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

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from celery_legion.run import Record
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
    WorkerInfo,
    debt_id,
)

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

    def pulse(self, owner: str, ttl: timedelta, since: int, limit: int, info: SchedulerInfo) -> Pulse:
        """Take the lead if it is free, renew it if it is *owner*'s, and read changes and the inbox.

        A take-over counts the epoch up by one. Registers the scheduler for :meth:`schedulers` under
        the same *ttl*. At most *limit* requests are read, oldest first; they stay until acknowledged.
        """
        ...

    def resign(self, owner: str) -> bool:
        """Give up the lead and wake the standbys. False if *owner* does not lead."""
        ...

    def sight(self, prints: Mapping[str, str], mark: datetime) -> dict[str, Sight]:
        """Look the jobs up and remember those seen for the first time.

        *prints* maps each job's name to a fingerprint of its trigger. A new job gets *mark* as its mark
        and its anchor. A job whose fingerprint has changed keeps its anchor, and its mark moves up to
        *mark* (never back): changing a frequency fires nothing of the past. At most 500 names a call.
        """
        ...

    def claim(self, claims: Sequence[Claim], owner: str, epoch: int | None, lead_ttl: timedelta) -> list[Verdict]:
        """Give each fire to exactly one scheduler; verdicts come in the order of *claims*.

        In one act for all (at most 200): the owner still leads at this *epoch* (None = a one-shot, no lead
        needed), and for each claim the mark is still the expected one, the lock is free by its limit → the
        mark moves, the lock is taken for the run, the run is written as claimed, lapses and skips are
        written. A claim extends the lead by *lead_ttl*. A repeated claim by the same owner returns the same verdict.
        """
        ...

    def sent(self, ids: Sequence[str]) -> None:
        """Record that the broker has these runs' messages.

        A run that has begun meanwhile only loses its place among the unsent. An unwatched run is closed here:
        it stays ``sent(unwatched)``, counts as ended from then on, and begins no more.
        """
        ...

    def unsent(self, older_than: timedelta, limit: int) -> list[Unsent]:
        """Return claimed runs not confirmed for longer than *older_than* (by the store's clock), oldest first."""
        ...

    def reap(self, limit: int) -> list[Record]:
        """End what nobody else will end, and return the ended records; at most *limit* of each sort.

        A running or retrying run whose lease is over becomes ``lost`` (one acknowledged late first gets its
        visibility timeout as grace, for its redelivery). A run that was sent and has not begun when its deadline has
        passed becomes ``expired(past_deadline)``, or when its queue time is over ``expired(queue)``. Their locks are
        released. Also trims what the retention no longer keeps.
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


class RunStore(Protocol):
    """What a worker asks for each run."""

    def begin(self, ticket: Ticket) -> Answer:
        """Say whether a message may run now.

        Ended → DUPLICATE (``expired(queue)`` may begin after all). Same retries, lease alive, acknowledged
        early and accepted → DUPLICATE. Any other message of a run whose lease is alive → WAIT. A parked retry
        whose number this is, lease gone or handed back, or not yet begun → GO with the next attempt and a new
        token, if the lock allows: a holder that has not begun loses it and becomes ``skipped(superseded)``;
        when only begun runs hold it, the answer is SUPERSEDED and the run ends as ``skipped(superseded)`` (or
        ``lost(superseded)`` if it had begun before). An unknown id: DUPLICATE if it is in the done memory, SUPERSEDED
        if its kind is scheduled and its fire is at or below the job's mark, else GO (the store has lost it: it is
        written anew, and the mark moves). The same delivery (``asker``) that asks again while its lease is alive gets
        the same GO with the same token. A ticket for another job than the run's, and one that must be known and is
        not, are REFUSED, and nothing changes. A run that was to be interrupted when it was let go of ends as
        interrupted, and the answer is DUPLICATE.
        """
        ...

    def renew(self, worker: str, renewals: Sequence[Renewal], lease: timedelta) -> dict[str, Kept]:
        """Extend the leases of runs this worker answers for; a run under another token, ended or unknown is LOST.

        A run not begun yet (token 0: prefetched or waiting) has its queue time extended by its lock's ttl and is OK.
        A run that shall be interrupted is kept all the same, and is INTERRUPT each time until it has ended or the
        interruption was refused.
        """
        ...

    def park(self, run_id: str, token: int, until: datetime, retries: int) -> bool:
        """Hold the run and its lock for a retry: state ``retrying``, lease until *until* plus the lock's ttl.

        *retries* is the number the retry's message will carry. False if the token is not current or the run has ended.
        A run that shall be interrupted ends as that instead, and the answer is True.
        """
        ...

    def hand_back(self, worker: str) -> list[str]:
        """Let go of this worker's begun runs that can be delivered again: acknowledged late, or not accepted yet.

        Their lease is over at once, so that the next delivery may begin; returns their ids. Also forgets the worker.
        """
        ...

    def end(self, run_id: str, token: int, outcome: Outcome, retention: Retention) -> bool:
        """End a run; True if this call did it (the first call wins).

        *token* must be the run's current one (0 for a run that never began, which is how revoked, expired and missed
        runs end). Releases the lock, or keeps it for ``outcome.dying``; writes the ledger; leaves ``id → done`` for
        the dedup age; owes the hooks that the run has for this end. An ended, unknown or re-begun run: False, and
        nothing changes.
        """
        ...

    def progress(self, run_id: str, token: int, output: str) -> bool:
        """Keep the tail of what a run has written so far, for those who look; False if it does not run under *token*.

        The tail that comes with the end, or when the run is left, takes its place. A run that gets lost keeps it.
        """
        ...

    def leave(self, run_id: str, token: int, exit_code: int | None, output: str | None) -> bool:
        """Say that nothing of a run is executed any more, before or after its end; False if *token* is not its last.

        A lock that is only kept while the run is dying is released; an end that follows keeps none. Exit code and
        output are added to its record if nobody else gave them.
        """
        ...

    def interrupt(self, run_id: str, signal: int, grace: timedelta) -> Record | None:
        """Ask for the end of a run; returns its record as it stands then, None if unknown.

        One that has not begun, or waits for its retry, ends at once as ``interrupted(revoked)``. One that runs is
        told so at its next renewal. One that has ended stays as it is.
        """
        ...

    def interruption(self, run_id: str) -> Interruption | None:
        """Return how a run shall be interrupted, or why it cannot be; None if nobody asked."""
        ...

    def refuse(self, run_id: str, token: int, why: str) -> bool:
        """Answer an interruption that cannot be carried out. False if none is asked, or *token* is not current."""
        ...

    def get(self, run_id: str) -> Record | None:
        """Return one run's record, None if unknown."""
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
        """Pause a job, or with the name ``"*"`` all; returns the new version."""
        ...

    def resume(self, name: str) -> bool:
        """Lift a pause. False if there was none."""
        ...

    def pauses(self) -> dict[str, Pause]:
        """Return the pauses in force by name; one whose ``until`` is over is not among them."""
        ...

    def register(self, info: WorkerInfo, lease: timedelta) -> None:
        """Register a worker that knows legion, with its queues, under a lease."""
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
