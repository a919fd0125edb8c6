"""The store's contract: small protocols, with verbs chosen by what must be atomic.

What holds for every verb: it is one atomic act; the store's own clock judges
every expiry; the same call repeated by the same caller gives the same answer
(a reply can be lost); a store that does not answer within ``legion_store_timeout``
raises :class:`~celery_legion.errors.StoreUnavailableError`, and then it is unknown
whether the verb took effect. A name or id that the store does not know is never an
error: the verb's docstring says what is returned for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from celery_legion.run import Kind, Record, State

CLAIM_LIMIT = 200
"""Most fires in one claim: 500 in one script block a Redis for 12 ms (measured)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerInfo:
    """What a scheduler says of itself in its pulse. ``fingerprint`` is its schedule's."""

    app: str
    fingerprint: str
    host: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """Who leads: the owner, its epoch, what it says of itself, and how long its lease still runs."""

    owner: str
    epoch: int
    info: SchedulerInfo
    expires_in: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A push as it lies in the inbox. ``id`` becomes the run's id; ``body`` is its JSON as pushed."""

    id: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """The answer to a pulse.

    ``epoch`` is None for a standby. ``lead`` is the leader's record, one's own included.
    ``changes`` names the jobs put, dropped, paused or resumed after ``since`` (``"*"`` for
    all jobs), ``version`` is what to pass as ``since`` next time. ``requests`` is empty for
    a standby.
    """

    epoch: int | None
    lead: Lead
    version: int
    changes: tuple[str, ...] = ()
    requests: tuple[Request, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What the store holds of a job's past: ``mark``, its last accounted fire, and the ``anchor`` of its intervals."""

    mark: datetime
    anchor: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Lapse:
    """Fires that become no run: ``count`` of them from ``first`` to ``last``, skipped or missed for ``reason``."""

    state: State
    reason: str
    first: datetime
    last: datetime
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim of one job's fires up to ``fire_time``.

    ``mark`` is the mark that the fire was computed from: the claim holds only if the
    store still has it (None = whatever it has: for pushes, which do not move the mark).
    ``lapses`` are written in the same act, in order. ``run_id`` None means that only
    lapses are written and the mark moves. ``lock`` names the lock (usually the job's
    name), ``limit`` how many runs may hold it at once (0 = no lock), ``lock_ttl`` how
    long it de-duplicates before the run has begun. ``message`` is the evaluated message
    as JSON: what is published, now or again. ``deadline`` is the latest moment to begin
    (None = none); ``queue`` where the message goes, if known. ``watched`` False says that
    no worker will report on the run: being sent is the last that is known of it, and
    ``sent`` closes its record as ``sent(unwatched)``.
    """

    job: str
    fire_time: datetime
    mark: datetime | None
    run_id: str | None = None
    kind: Kind = Kind.SCHEDULED
    lapses: tuple[Lapse, ...] = ()
    lock: str = ""
    limit: int = 1
    lock_ttl: timedelta = timedelta(hours=1)
    message: str = ""
    deadline: datetime | None = None
    queue: str | None = None
    watched: bool = True


class Granted(StrEnum):
    """What became of a claim.

    ``RUN``: claimed, publish it. ``LAPSED``: only lapses were to be written, and were.
    ``OVERLAP``: the lock is held; the fire was written as skipped(overlap) and the mark moved.
    ``NO_WORKER``: the lock's holder was sent, has not begun, and no worker that knows legion is
    registered for its queue; written as skipped(no_worker).
    ``STALE``: the mark is another than the claim's; nothing was written.
    ``DEPOSED``: the owner does not lead at this epoch; nothing was written.
    ``KNOWN``: this run exists already (a repeated push); nothing was written.
    """

    RUN = "run"
    LAPSED = "lapsed"
    OVERLAP = "overlap"
    NO_WORKER = "no_worker"
    STALE = "stale"
    DEPOSED = "deposed"
    KNOWN = "known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer to one claim. ``mark`` is the job's mark afterwards; ``holder`` the run that holds the lock on OVERLAP."""

    granted: Granted
    mark: datetime | None = None
    holder: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsent:
    """A run that was claimed and never confirmed as sent; ``message`` is what to publish again."""

    id: str
    job: str
    kind: Kind
    fire_time: datetime
    claimed_at: datetime
    message: str
    queue: str | None = None
    deadline: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What a worker knows of a message when it asks to begin its run.

    All but the worker's part comes from the message's headers, so that a run can begin
    although the store has lost it. ``retries`` is the message's own count. ``late``
    says that the task acknowledges late; ``visibility`` is how long the broker may take
    to deliver it again. ``asker`` names this one delivery (a new value for each message
    received, the same when one delivery asks again), so that a lost reply can be told
    from a second copy.
    """

    id: str
    job: str
    fire_time: datetime
    kind: Kind
    worker: str
    retries: int
    redelivered: bool
    late: bool
    lock: str
    limit: int
    lease: timedelta
    asker: str
    lock_ttl: timedelta = timedelta(hours=1)
    visibility: timedelta = timedelta(hours=1)


class Admission(StrEnum):
    """The four answers of ``begin``."""

    GO = "go"
    WAIT = "wait"
    DUPLICATE = "duplicate"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to ``begin``: with GO the fencing ``token`` and the ``attempt`` (1 = first), with WAIT how long.

    ``previous_success`` is the fire time of the job's last succeeded run before this one.
    """

    admission: Admission
    token: int = 0
    attempt: int = 0
    wait: timedelta = timedelta(0)
    previous_success: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """A run that a worker still answers for. ``accepted``: its process took it and an early acknowledgement is out."""

    id: str
    token: int
    accepted: bool


class Kept(StrEnum):
    """What a renewal came to: the lease runs on, it is another's or over, or the run shall be interrupted."""

    OK = "ok"
    LOST = "lost"
    INTERRUPT = "interrupt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended, as the first to see it says.

    ``dying`` is how long the lock is still kept, since the process that ran it may not
    be dead yet (zero = released at once).
    """

    state: State
    reason: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    pid: int | None = None
    exit_code: int | None = None
    error: str | None = None
    output: str | None = None
    dying: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """That a job (or, by the name ``"*"``, every job) is paused: since when, until when (None = resumed), and why."""

    name: str
    since: datetime
    until: datetime | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A lock as it stands: its name, the runs that hold it with the time each lease still has, and which have begun."""

    name: str
    holders: tuple[Holder, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """One run that holds a lock."""

    run_id: str
    job: str
    state: State
    expires_in: timedelta
    worker: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """What the store knows of a job: ``last`` is its newest run (not a skip), ``latest`` its newest record."""

    name: str
    mark: datetime | None = None
    anchor: datetime | None = None
    last: Record | None = None
    latest: Record | None = None
    pause: Pause | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """A worker that knows legion: the queues it consumes and its versions, under a lease."""

    name: str
    queues: tuple[str, ...]
    version: str
    pid: int
    expires_in: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How much of the past is kept: records a job, records in all, their age, and how long an ended id is known."""

    size: int = 100
    total: int = 100_000
    age: timedelta = timedelta(days=14)
    dedup: timedelta = timedelta(days=1)


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
        visibility timeout as grace, for its redelivery). A run that was sent and has not begun when its deadline has passed
        becomes ``expired(past_deadline)``, or when its queue time is over ``expired(queue)``. Their locks are
        released. Also trims what the retention no longer keeps.
        """
        ...


class RunStore(Protocol):
    """What a worker asks for each run."""

    def begin(self, ticket: Ticket) -> Answer:
        """Say whether a message may run now.

        Ended → DUPLICATE (``expired(queue)`` may begin after all). Same retries, lease alive, acknowledged
        early and accepted → DUPLICATE. Any other message of a run whose lease is alive → WAIT. A parked retry
        whose number this is, lease gone or handed back, or not yet begun → GO with the next attempt and a new
        token, if the lock allows: a holder that has not begun loses it and becomes ``skipped(superseded)``;
        when only begun runs hold it, the answer is SUPERSEDED and the run ends as ``skipped(superseded)`` (or ``lost(superseded)``
        if it had begun before). An unknown id: DUPLICATE if it is in the done memory, SUPERSEDED if its kind is
        scheduled and its fire is at or below the job's mark, else GO (the store has lost it: it is written anew, and the mark moves).
        The same delivery (``asker``) that asks again while its lease is alive gets the same GO with the same token.
        """
        ...

    def renew(self, worker: str, renewals: Sequence[Renewal], lease: timedelta) -> dict[str, Kept]:
        """Extend the leases of runs this worker answers for; a run under another token, ended or unknown is LOST.

        A run not begun yet (token 0: prefetched or waiting) has its queue time extended by its lock's ttl and is OK.
        """
        ...

    def park(self, run_id: str, token: int, until: datetime, retries: int) -> bool:
        """Hold the run and its lock for a retry: state ``retrying``, lease until *until* plus the lock's ttl.

        *retries* is the number the retry's message will carry. False if the token is not current or the run has ended.
        """
        ...

    def hand_back(self, worker: str) -> list[str]:
        """Let go of this worker's begun runs that can be delivered again: acknowledged late, or not accepted yet.

        Their lease is over at once, so that the next delivery may begin; returns their ids. Also forgets the worker.
        """
        ...

    def end(self, run_id: str, token: int, outcome: Outcome, retention: Retention) -> bool:
        """End a run; True if this call did it (the first call wins).

        *token* must be the run's current one (0 for a run that never began, which is how revoked, expired and missed runs end). Releases the lock,
        or keeps it for ``outcome.dying``; writes the ledger; leaves ``id → done`` for the dedup age. An ended, unknown
        or re-begun run: False, and nothing changes.
        """
        ...

    def get(self, run_id: str) -> Record | None:
        """Return one run's record, None if unknown."""
        ...


class InboxStore(Protocol):
    """Pushes: requests to run a job now."""

    def push(self, request: Request) -> None:
        """Put a request into the inbox and wake the scheduler. The same id twice is one run."""
        ...

    def ack(self, ids: Sequence[str]) -> None:
        """Take handled requests out of the inbox. Unknown ids are passed over."""
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
        """Return the newest records, newest first: of one job, or (None) of all."""
        ...

    def locks(self) -> list[Lock]:
        """Return the locks that are held, by name."""
        ...

    def release(self, name: str | None) -> list[Lock]:
        """Free a lock whoever holds it, or (None) all; returns what was held. Runs go on."""
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


class Store(
    SchedulerStore, RunStore, InboxStore, ScheduleStore, ReadingStore, WakingStore, Protocol
):
    """Everything a driver is."""

    def ping(self) -> None:
        """Return if the store answers."""
        ...

    def now(self) -> datetime:
        """Return the store's own time."""
        ...

    def warnings(self) -> list[str]:
        """Return what about this server endangers the promises (an eviction policy, no persistence), one sentence each."""
        ...

    def forget_connections(self) -> None:
        """Drop every connection without talking on it: after a fork, or from a signal handler."""
        ...

    def close(self) -> None:
        """Close every connection. May be called twice."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """What a driver is opened with. ``prefix`` names the app's part of the store, ``timeout`` bounds every answer."""

    url: str
    prefix: str
    timeout: timedelta = timedelta(seconds=2)
    retention: Retention = field(default_factory=Retention)
