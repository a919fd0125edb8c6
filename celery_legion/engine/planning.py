"""Planning: what becomes of a standing's due fires, with what the scheduler knows of pauses and rules."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime

from celery_legion.engine.agenda import Agenda, Standing
from celery_legion.job import Job
from celery_legion.planner import Plan, Rules, judge, plan, plan_one
from celery_legion.run import Reason
from celery_legion.stores.base import Pause

logger = logging.getLogger(__name__)


class Planning:
    """Asks the pure planner; ``pauses`` are those in force, by job."""

    def __init__(self, rules: Rules, agenda: Agenda) -> None:
        self.pauses: Mapping[str, Pause] = {}
        self._rules = rules
        self._agenda = agenda

    def plan(self, standing: Standing, now: datetime) -> Plan:
        """Return the plan of a standing whose fire is due."""
        assert standing.fire is not None
        return plan(
            standing.job,
            standing.trigger,
            standing.fire,
            now,
            rules=self._rules,
            paused=self._is_paused(standing.job.name, now),
            judge=self._judge,
            next_after=self._agenda.next_after,
        )

    def ask(self, standing: Standing, moment: Callable[[], datetime]) -> Plan | None:
        """Ask a standing's schedule whether it is due at the present *moment*; None if it is not."""
        job = standing.job
        fire = self._agenda.asking.is_due(job.name, moment)
        if fire is None:
            return None
        return plan_one(job, fire, paused=self._is_paused(job.name, fire), judge=self._judge)

    def refusal(self, job: Job, now: datetime) -> str | None:
        """Return why a run of *job* must not begin now, None if it may: it is wrong, paused, or a condition says no."""
        if job.problem:
            return job.problem
        return Reason.PAUSED if self._is_paused(job.name, now) else self._judge(job, now)

    def _is_paused(self, name: str, now: datetime) -> bool:
        pauses = (self.pauses.get(name), self.pauses.get("*"))
        return any(pause is not None and (pause.until is None or now < pause.until) for pause in pauses)

    def _judge(self, job: Job, fire: datetime) -> str | None:
        try:
            return judge(job, fire)
        except Exception:
            logger.exception("a condition of job %s failed: its fire is skipped", job.name)
            return Reason.CONDITION
