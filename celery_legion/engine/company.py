"""Company: schedulers and workers of one store whose apps do not agree on whether ``Legion(app)`` stands in them."""

from __future__ import annotations

from collections.abc import Sequence

from celery_legion.control import in_line
from celery_legion.stores.base import Lead, WorkerInfo

WITHOUT = "runs without Legion(app), so it knows no jobs but those of beat_schedule, and guards no run by a lock"
CURE = "start it with the app that Legion(app) stands in, or put that line there"


def place_of(lead: Lead) -> str:
    """Return a scheduler as people find it: its host and process."""
    return f"{in_line(lead.info.host)}:{lead.info.pid}"


def unguarded_leader(lead: Lead, whoever: str = "this process") -> str:
    """Return what *whoever* has ``Legion(app)``, a standby or a worker, says of a leader without."""
    return f"the scheduler that leads, {place_of(lead)}, {WITHOUT}, unlike {whoever}: {CURE}"


def unguarded_self(owner: str, others: Sequence[Lead], workers: Sequence[WorkerInfo]) -> str | None:
    """Return what a leader without ``Legion(app)`` says of those that have it; None if nobody has."""
    standbys = [place_of(lead) for lead in others if lead.owner != owner and lead.info.guarded]
    known = [f"standby {place}" for place in standbys] + [f"worker {in_line(worker.name)}" for worker in workers]
    if not known:
        return None
    more = f" and {len(known) - 1} more" if len(known) > 1 else ""
    return f"this scheduler leads and {WITHOUT}, unlike {known[0]}{more}: {CURE}"
