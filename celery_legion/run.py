"""Runs: what one fire or push came to, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

from celery_legion.clock import to_ms

NAMESPACE = UUID("6f1c43a2-5d0a-4c61-9f4e-2a8b1d7c9e30")


class State(StrEnum):
    """Where a run stands; transitions only go forward.

    ``claimed → sent → running ⇄ retrying →`` one of the terminal states. A fire
    that became no run is ``skipped`` or ``missed``, with a reason. A run that
    ``expired`` in its queue, or is ``lost`` with its retry, and whose message turns up after all may still begin.
    ``sent(unwatched)`` is the last that is known of a run that no worker reports on. One that was skipped because its
    task sent no message (``skipped(not_sent)``) begins after all, too, if its task sends one later.
    """

    CLAIMED = "claimed"
    SENT = "sent"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    LOST = "lost"
    EXPIRED = "expired"
    SKIPPED = "skipped"
    MISSED = "missed"

    @property
    def terminal(self) -> bool:
        """Whether nothing follows any more."""
        return self not in _OPEN


_OPEN = frozenset({State.CLAIMED, State.SENT, State.RUNNING, State.RETRYING})


class Kind(StrEnum):
    """What asked for a run."""

    SCHEDULED = "scheduled"
    PUSHED = "pushed"
    MANUAL = "manual"
    BACKFILL = "backfill"


class Reason(StrEnum):
    """Why a fire became no run, or why a run ended as it did."""

    OVERLAP = "overlap"
    PAUSED = "paused"
    CONDITION = "condition"
    PAST_DEADLINE = "past_deadline"
    CATCH_UP = "catch_up"
    LIMIT = "limit"
    BROKER = "broker"
    NO_WORKER = "no_worker"
    SUPERSEDED = "superseded"
    GONE = "gone"
    REPLACED = "replaced"
    QUEUE = "queue"
    UNWATCHED = "unwatched"
    UNSENDABLE = "unsendable"
    NOT_SENT = "not_sent"
    UNKNOWN_TASK = "unknown_task"
    EXPIRES = "expires"
    REVOKED = "revoked"
    TERMINATED = "terminated"
    SHUTDOWN = "shutdown"
    TIME_LIMIT = "time_limit"
    PROCESS_LOST = "process_lost"
    RETRY_LOST = "retry_lost"
    REJECTED = "rejected"
    IGNORED = "ignored"


def run_id(prefix: str, job: str, fire_time: datetime) -> str:
    """Return the id of the run of (*job*, *fire_time*) under *prefix*: always the same one.

    Names exist before the launch, so the same fire can never have two ids.
    """
    return str(uuid5(NAMESPACE, f"{prefix}\x00{job}\x00{to_ms(fire_time)}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record of the ledger: a run, or consecutive fires that became none for one reason.

    ``id`` is None for a skip or miss that never had a run. ``fire_time`` is the
    first fire the record accounts for and ``last_fire_time`` the last (equal for
    a run); ``count`` says how many. ``output`` is the tail of what the run wrote,
    ``hook_error`` how a hook of it failed, ``previous_success`` the fire time of the
    job's last success before it, ``retry_at`` when the retry is due that it waits, or waited last, for.
    All moments are aware UTC.
    """

    id: str | None
    job: str
    kind: Kind
    fire_time: datetime
    last_fire_time: datetime
    state: State
    reason: str | None = None
    count: int = 1
    claimed_at: datetime | None = None
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
    scheduler: str | None = None
    previous_success: datetime | None = None
    hook_error: str | None = None
    retry_at: datetime | None = None
