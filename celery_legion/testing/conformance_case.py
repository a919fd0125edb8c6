"""The ground of the store conformance: the job "job" that fires each minute, its claims, messages and ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

from celery_legion.run import Kind, Record, State
from celery_legion.stores.base import (
    Admission,
    Claim,
    Granted,
    Lapse,
    Outcome,
    Pulse,
    Retention,
    SchedulerInfo,
    Store,
    Ticket,
    WorkerInfo,
)

BASE = datetime(2030, 1, 1, tzinfo=UTC)
LONG = timedelta(hours=1)
NO_TIME = timedelta(0)
BEAT = "beat-1"
OTHER = "beat-2"
INFO = SchedulerInfo(app="shop", fingerprint="print-1", host="alpha", pid=101, place="queue celery at amqp://alpha")
SUCCESS = Outcome(state=State.SUCCEEDED)
KEEP = Retention()


class Advancing(Protocol):
    """The store's clock: a fake one moves, before a real one one sleeps."""

    def advance(self, span: timedelta) -> None:
        """Let *span* pass by the store's clock."""
        ...


class Keeping(Protocol):
    """Opens an empty store, on the same clock, with a retention of its own."""

    def __call__(self, retention: Retention) -> Store:
        """Return one more store."""
        ...


class Case:
    """What every part of the conformance has: ``tick``, the shortest span that the driver's clock is tested with.

    What shall end within a test lasts one tick, and two are waited for; what shall not end lasts an hour.
    """

    tick: timedelta = timedelta(seconds=1)


def minute(number: int) -> datetime:
    """Return the fire time of a job's fire *number*."""
    return BASE + timedelta(minutes=number)


def know(store: Store, *names: str) -> None:
    """Let the store see jobs for the first time, with the mark at minute 0."""
    store.sight(dict.fromkeys(names or ("job",), "print"), BASE)


def fire(number: int = 1, job: str = "job") -> Claim:
    """Return the claim of fire *number*, computed from the fire before it."""
    return Claim(
        job=job,
        fire_time=minute(number),
        mark=minute(number - 1),
        run_id=f"{job}-{number}",
        lock=job,
        lock_ttl=LONG,
        message=f'{{"fire":{number}}}',
        queue="celery",
    )


def pushed(run_id: str, job: str = "job") -> Claim:
    """Return the claim of a push."""
    return Claim(
        job=job,
        fire_time=minute(30),
        mark=None,
        run_id=run_id,
        kind=Kind.PUSHED,
        lock=job,
        lock_ttl=LONG,
        message="{}",
        queue="celery",
    )


def skip(number: int, reason: str, *, last: int | None = None, count: int = 1) -> Lapse:
    """Return the lapse of fire *number* (up to *last*) for *reason*."""
    return Lapse(state=State.SKIPPED, reason=reason, first=minute(number), last=minute(last or number), count=count)


def grant(store: Store, *claims: Claim, owner: str = BEAT) -> list[Granted]:
    """Claim as a one-shot, and return what became of each."""
    return [verdict.granted for verdict in store.claim(claims, owner, None, LONG)]


def lead(store: Store, owner: str = BEAT, ttl: timedelta = LONG, since: int = 0, limit: int = 100) -> Pulse:
    """Pulse once."""
    return store.pulse(owner, ttl, since, limit, INFO)


def dispatch(store: Store, claim: Claim) -> str:
    """Claim a run and confirm it as sent; returns its id."""
    assert grant(store, claim) == [Granted.RUN]
    run_id = id_of(claim)
    store.sent([run_id])
    return run_id


def id_of(claim: Claim) -> str:
    """Return the id of a claim's run."""
    assert claim.run_id is not None
    return claim.run_id


def ticket(claim: Claim, asker: str = "delivery-1", worker: str = "worker-1") -> Ticket:
    """Return what *worker* asks for a claim's first message, acknowledged early."""
    return Ticket(
        id=id_of(claim),
        job=claim.job,
        fire_time=claim.fire_time,
        kind=claim.kind,
        worker=worker,
        retries=0,
        redelivered=False,
        late=False,
        lock=claim.lock,
        limit=claim.limit,
        lease=LONG,
        asker=asker,
        lock_ttl=claim.lock_ttl,
        visibility=LONG,
    )


def start(store: Store, asked: Ticket) -> int:
    """Begin a run; returns its token."""
    answer = store.begin(asked)
    assert answer.admission is Admission.GO
    return answer.token


def run(store: Store, claim: Claim) -> int:
    """Claim, send and begin a run; returns its token."""
    dispatch(store, claim)
    return start(store, ticket(claim))


def complete(store: Store, claim: Claim, outcome: Outcome = SUCCESS) -> None:
    """Claim, send, begin and end a run."""
    token = run(store, claim)
    assert store.end(id_of(claim), token, outcome, KEEP)


def record(store: Store, claim: Claim) -> Record:
    """Return the record of a claim's run."""
    found = store.get(id_of(claim))
    assert found is not None
    return found


def verdict_of(found: Record) -> tuple[State, str | None]:
    """Return a record's state and reason."""
    return found.state, found.reason


def holders(store: Store, name: str = "job") -> list[str]:
    """Return the ids of the runs that hold a lock."""
    return [holder.run_id for lock in store.locks() if lock.name == name for holder in lock.holders]


def attend(
    store: Store, *queues: str, name: str = "worker-1", lease: timedelta = LONG, idle: timedelta = NO_TIME
) -> None:
    """Register a worker for *queues*."""
    store.register(WorkerInfo(name=name, queues=queues, version="1", pid=7, idle=idle), lease)
