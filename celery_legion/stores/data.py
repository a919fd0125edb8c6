"""What goes into the store's verbs and what comes out, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from celery_legion.run import Kind, Record, State

CLAIM_LIMIT = 200
"""Most fires in one claim: 500 in one script block a Redis for 12 ms (measured)."""

ASIDE_LIMIT = 100
"""Most requests that are kept when they were put aside."""

BODY_KEPT = 2000
"""Most characters of a body that are kept with a request that was put aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerInfo:
    """What a scheduler says of itself: its schedule's ``fingerprint``, and the ``place`` it sends to ("" = unsaid).

    ``guarded`` says that ``Legion(app)`` stands in its app; one that does not say is taken to have it.
    """

    app: str
    fingerprint: str
    host: str
    pid: int
    guarded: bool = True
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """Who leads: the owner, its epoch, what it says of itself, and how long its lease still runs.

    All that was due up to ``done`` is claimed, by what it says; None until its first pass is over.
    """

    owner: str
    epoch: int
    info: SchedulerInfo
    expires_in: timedelta
    done: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A push as it lies in the inbox. ``id`` becomes the run's id; ``body`` is its JSON as pushed.

    The store gives an id to one that was pushed without.
    """

    id: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """A request that could not be handled: ``why``, and since when it is put aside."""

    request: Request
    why: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """The answer to a pulse.

    ``epoch`` is None for a standby. ``lead`` is the leader's record, one's own included.
    ``changes`` names the jobs put, dropped, paused or resumed after ``since`` (``"*"`` for
    all jobs), ``version`` is what to pass as ``since`` next time. ``requests`` is empty for
    a standby. ``owed`` says that hooks are due. ``at`` is the store's time. ``last`` is
    the *serial* number of the caller's pulse before: that of its last one that was answered, or a later one,
    unless the store has lost it; None if it has none, as of one whose registration is over.
    """

    epoch: int | None
    lead: Lead
    version: int
    at: datetime
    changes: tuple[str, ...] = ()
    requests: tuple[Request, ...] = ()
    owed: bool = False
    last: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is known of a job: ``mark``, its last accounted fire, with its claim's note; its intervals' ``anchor``."""

    mark: datetime
    anchor: datetime
    note: str = ""


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

    ``mark`` is the mark that the fire was computed from: the claim holds only if the store still has it (None =
    whatever it has: for pushes, which do not move the mark). ``lapses`` are written in the same act, in order.
    ``run_id`` None means that only lapses are written and the mark moves. ``lock`` names the lock (usually the job's
    name), ``limit`` how many runs may hold it at once (0 = no lock), ``lock_ttl`` how long it de-duplicates before the
    run has begun. ``message`` is the evaluated message as JSON: what is published, now or again. ``deadline`` is the
    latest moment to begin (None = none); ``queue`` where the message goes, if known; ``jumps`` says that it has a
    priority of its own there, so that it may be delivered out of its turn. ``eta`` is when its countdown is over (None
    = it has none): what is counted from the sending is counted from then. ``watched`` False says that no worker will
    report on the run: being sent is the last that is known of it, and ``sent`` closes it as ``sent(unwatched)``.
    ``owes`` are the endings, of run and lapses, that the job has hooks for. ``note`` is kept beside the mark, for
    schedulers.
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
    jumps: bool = False
    eta: datetime | None = None
    watched: bool = True
    owes: frozenset[State] = frozenset()
    note: str = ""


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
    """The answer to one claim.

    ``mark`` is the job's mark afterwards; ``holder`` the run that holds the lock on OVERLAP.
    """

    granted: Granted
    mark: datetime | None = None
    holder: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsent:
    """A run whose message is to be sent again: ``message`` is what to publish.

    It was claimed and never confirmed as sent; or, if ``lost``, it was, and its message has got lost in the broker.
    """

    id: str
    job: str
    kind: Kind
    fire_time: datetime
    claimed_at: datetime
    message: str
    queue: str | None = None
    deadline: datetime | None = None
    lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What a worker knows of a message when it asks to begin its run.

    All but the worker's part comes from the message's headers, so that a run can begin
    although the store has lost it. ``retries`` is the message's own count. ``late``
    says that the task acknowledges late; ``visibility`` is how long the broker may take
    to deliver it again. ``asker`` names this one delivery (a new value for each message
    received, the same when one delivery asks again), so that a lost reply can be told
    from a second copy. ``known`` says that only a run which the store knows may begin.
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
    owes: frozenset[State] = frozenset()
    known: bool = False


class Admission(StrEnum):
    """The answers of ``begin``. REFUSED: the message does not belong to the run it names."""

    GO = "go"
    WAIT = "wait"
    DUPLICATE = "duplicate"
    SUPERSEDED = "superseded"
    REFUSED = "refused"


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
    """A run that a worker still answers for. ``accepted``: its process took it and an early acknowledgement is out.

    ``pid`` is the process that executes it, as far as it is known.
    """

    id: str
    token: int
    accepted: bool
    pid: int | None = None


class Kept(StrEnum):
    """What a renewal came to: the lease runs on, it is another's or over, or the run shall be interrupted."""

    OK = "ok"
    LOST = "lost"
    INTERRUPT = "interrupt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended, as the first to see it says.

    ``dying`` is how long the lock is still kept, since the process that ran it may not
    be dead yet (zero = released at once; nothing is kept for a run that was left).
    ``hooks_by`` names a process that will run the owed hooks itself, right away, and has
    ``hooks_lease`` for it (None = they are due at once, for anyone).
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
    hook_error: str | None = None
    hooks_by: str | None = None
    hooks_lease: timedelta = timedelta(0)


def debt_id(run_id: str, token: int) -> str:
    """Return the name of the debt of hooks that the end of a run under *token* leaves."""
    return f"{run_id}:{token}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Debt:
    """Hooks that are owed for an ending, which ``record`` describes as it was written.

    ``sends`` is how often they were given to a scheduler to send.
    """

    id: str
    record: Record
    sends: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """How a run shall be interrupted: by which signal, and after which grace by force.

    ``refused`` says why it cannot be; then nothing is asked any more.
    """

    signal: int
    grace: timedelta
    refused: str | None = None


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
class Retention:
    """How much of the past is kept: records a job, records in all, their age, and how long an ended id is known.

    Of what runs wrote, the tails of a job's last ``outputs`` runs and of its last failure, and ``output_total``
    bytes in all.
    """

    size: int = 100
    total: int = 100_000
    age: timedelta = timedelta(days=14)
    dedup: timedelta = timedelta(days=1)
    outputs: int = 5
    output_total: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """What a driver is opened with. ``prefix`` names the app's part of the store, ``timeout`` bounds every answer."""

    url: str
    prefix: str
    timeout: timedelta = timedelta(seconds=2)
    retention: Retention = field(default_factory=Retention)
