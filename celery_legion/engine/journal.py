"""The scheduler's log of what became of claims: late, skipped, missed, without a worker."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from celery_legion.clock import isoformat
from celery_legion.engine.claims import Asked
from celery_legion.run import State
from celery_legion.stores.base import Granted, Verdict

logger = logging.getLogger(__name__)


class Journal:
    """Says what a person would ask about; a run that begins more than *late_after* behind its fire is late."""

    def __init__(self, late_after: timedelta) -> None:
        self._late_after = late_after
        self._shunned: set[str] = set()

    def write(self, one: Asked, verdict: Verdict, now: datetime) -> None:
        """Log one claim's verdict. What is normal is INFO; what someone should look at is louder, and said once."""
        job = one.claim.job
        for lapse in one.claim.lapses:
            # What is skipped is as somebody wished it; what is missed nobody did.
            level = logging.INFO if lapse.state is State.SKIPPED else logging.WARNING
            many = f"{lapse.count} fires up to" if lapse.count > 1 else "fire"
            text = "job %s: %s %s %s (%s)"
            logger.log(level, text, job, many, isoformat(lapse.last), lapse.state.value, lapse.reason)
        late = now - one.claim.fire_time
        if verdict.granted is Granted.RUN:
            self._shunned.discard(job)
            if late > self._late_after:
                logger.warning("job %s is late by %.0f s", job, late.total_seconds())
        elif verdict.granted is Granted.OVERLAP:
            fire = isoformat(one.claim.fire_time)
            logger.info("job %s: fire %s skipped (overlap), run %s is not over", job, fire, verdict.holder)
        elif verdict.granted is Granted.KNOWN:
            logger.info("job %s: push %s was handled before, and is no run once more", job, one.claim.run_id)
        elif verdict.granted is Granted.NO_WORKER and job not in self._shunned:
            self._shunned.add(job)
            logger.error(
                "job %s: run %s waits in queue %r, which no worker with Legion(app) consumes; its fires are skipped: "
                "start one, or put Legion(app) into the app of the workers there and restart them",
                job,
                verdict.holder,
                one.claim.queue,
            )
