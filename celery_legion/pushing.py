"""Pushing: asking for a run of a job now, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

from celery_legion.context import Context
from celery_legion.job import NOTHING
from celery_legion.push import Push, check_push
from celery_legion.run import Kind, Record, State
from celery_legion.stores.base import Aside, Request

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.3
"""Seconds between two looks at the inbox, which may be long."""

READ = 1_000_000
"""Characters after which a reading of the inbox may have ended before all was seen."""

SLACK = timedelta(seconds=5)
"""How long before it is waited for a push may have come to its skip."""

LOOKED_AT = 1000
"""Most requests of the inbox, and records of a job, among which a push is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """A push and what has become of it by now.

    ``record`` is that of its run, or of the skip that it came to; ``aside`` says why it could not be handled.
    Neither: it still waits in the inbox for a scheduler.
    """

    id: str
    record: Record | None = None
    aside: Aside | None = None


def push(context: Context, job: str, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] = NOTHING) -> str:
    """Ask for a run of *job* now; returns the id that the run will have.

    *args* take the place of the job's own (None leaves those), *kwargs* are laid over its own. The job's lock is
    respected, its clock, conditions and pauses are not asked.

    Raises:
        UnknownJobError: No job is named so.
        PushError: The arguments cannot be JSON, are too long, or the job is a command, which takes none.
        StoreUnavailableError: The store does not answer.
    """
    found = context.registry.get(job)
    asked = Push(job=job, args=None if args is None else tuple(args), kwargs=kwargs)
    check_push(asked, found)
    run_id = str(uuid4())
    context.store.push(Request(id=run_id, body=asked.body()))
    return run_id


def await_push(context: Context, run_id: str, job: str, patience: timedelta) -> Pushed:
    """Wait until a scheduler has taken a push out of the inbox and sent it, at most for *patience*.

    Returns what has become of it by then.

    Raises:
        StoreUnavailableError: The store does not answer.
    """
    deadline = time.monotonic() + patience.total_seconds()
    store = context.store
    since, pause = store.now(), FIRST_PAUSE
    while True:
        record = store.get(run_id)
        late = time.monotonic() >= deadline
        # Claimed is not yet known to be sent, and its arguments may be none that the task takes.
        if record is not None and (late or record.state is not State.CLAIMED):
            return Pushed(id=run_id, record=record)
        waiting = store.requests(LOOKED_AT)
        gone = all(request.id != run_id for request in waiting) and not _may_be_more(waiting)
        if record is None and gone:
            break
        if late:
            return Pushed(id=run_id)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
    # It may have been claimed between the two looks; a skip has no run, and is the job's newest one of a push.
    record = store.get(run_id)
    if record is None:
        skips = (one for one in store.runs(job, LOOKED_AT) if one.id is None and one.kind is Kind.PUSHED)
        record = next((one for one in skips if one.ended_at is not None and one.ended_at >= since - SLACK), None)
    aside = next((one for one in store.asides(LOOKED_AT) if one.request.id == run_id), None)
    return Pushed(id=run_id, record=None if aside else record, aside=aside)


def _may_be_more(waiting: Sequence[Request]) -> bool:
    """Whether more lies in the inbox than could be seen."""
    return len(waiting) >= LOOKED_AT or sum(len(request.body) for request in waiting) >= READ
