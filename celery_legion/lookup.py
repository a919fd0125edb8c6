"""Looking runs up by what people type: a whole id, its beginning, or a job."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from celery_legion.context import Context
from celery_legion.errors import AmbiguousTargetError, LegionError, UnknownRunError, did_you_mean
from celery_legion.job import Job
from celery_legion.run import Reason, Record

SHORTEST, SHORTEST_NUMBER = 6, 8
"""Fewest characters of an id's beginning, and of one that is all digits: fewer may be a word, or a process."""

DIGITS = frozenset("0123456789abcdef-")

RECENT = 2000
"""Newest records among which an id's beginning is looked for."""

RECORDS = 1000
"""Newest records of a job among which its open runs are looked for."""


def is_over(record: Record) -> bool:
    """Return whether nothing follows on a run any more, as far as will ever be known."""
    return record.state.terminal or record.reason == Reason.UNWATCHED


def find_run(context: Context, text: str) -> Record | None:
    """Return the run whose id is *text*, or begins with it; None if there is none.

    Raises:
        AmbiguousTargetError: Several ids begin so.
    """
    store = context.store
    record = store.get(text)
    shortest = SHORTEST_NUMBER if text.isdigit() else SHORTEST
    if record is not None or len(text) < shortest or not set(text.lower()) <= DIGITS:
        return record
    found = {one.id: one for one in store.runs(None, RECENT) if one.id is not None and one.id.startswith(text.lower())}
    if len(found) > 1:
        raise AmbiguousTargetError(text, [f"{one.id} of {one.job}" for one in found.values()])
    return next(iter(found.values()), None)


def runs_of(context: Context, job: str) -> list[Record]:
    """Return the open runs of a job, else its newest one; empty if it has had none."""
    records = [record for record in context.store.runs(job, RECORDS) if record.id is not None]
    return [record for record in records if not is_over(record)] or records[:1]


def unknown_run(context: Context, text: str) -> UnknownRunError:
    """Return the error that says that *text* is nothing that has run."""
    jobs: Mapping[str, Job] = {}
    # A wrong job elsewhere on the schedule must not be in the way of an emergency.
    with suppress(LegionError):
        jobs = context.registry.jobs
    return UnknownRunError(text, did_you_mean(text, jobs), text in jobs)
