"""The agenda: which job fires next, in memory, with cost for what is due and not for what is scheduled."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush
from itertools import count

from celery_legion.clock import to_ms
from celery_legion.control import error_in_line, in_line
from celery_legion.engine.asking import Asking
from celery_legion.job import Job
from celery_legion.stores.base import Sight
from celery_legion.triggers import Trigger, TriggerError
from celery_legion.triggers.asked import Asked

logger = logging.getLogger(__name__)

CACHED = 50_000
"""Most computed fire times remembered; all are dropped when there are more."""


class Standing:
    """Where one job stands: its trigger, with its anchor, its mark, and its next fire (None = never again).

    The next fire of one that is ``asked`` is the moment to ask it: it may turn out to be none.
    """

    __slots__ = ("anchor", "fire", "job", "mark", "trigger")

    def __init__(self, job: Job, trigger: Trigger, sight: Sight, fire: datetime | None) -> None:
        self.job, self.trigger, self.fire = job, trigger, fire
        self.mark, self.anchor = sight.mark, sight.anchor

    @property
    def asked(self) -> bool:
        """Whether the trigger decides when it is asked."""
        return isinstance(self.trigger, Asked)


class Agenda:
    """The jobs' standings by name, and a heap of their next fires keyed by UTC milliseconds."""

    def __init__(self) -> None:
        self.standings: dict[str, Standing] = {}
        self.broken: dict[str, str] = {}
        self.asking = Asking()
        self._heap: list[tuple[int, int, Standing]] = []
        self._order = count()
        self._cache: dict[tuple[Trigger, datetime], datetime | None] = {}

    def load(self, jobs: Iterable[Job], sights: Mapping[str, Sight]) -> None:
        """Start over with *jobs* as the store has seen them.

        One whose trigger fails is left out, with its error in ``broken``.
        """
        self.standings.clear()
        self.broken.clear()
        heap = []
        for job in jobs:
            sight = sights.get(job.name)
            if sight is None:
                continue
            try:
                trigger = job.trigger.anchored(sight.anchor)
                if isinstance(trigger, Asked):
                    fire: datetime | None = self.asking.start(job.name, trigger, sight)
                else:
                    fire = self.next_after(trigger, sight.mark)
            except Exception as exc:
                # A trigger may be a user's; the other jobs have nothing to do with it.
                self.broken[job.name] = _told(exc)
                continue
            standing = Standing(job, trigger, sight, fire)
            self.standings[job.name] = standing
            if fire is not None:
                heap.append((to_ms(fire), next(self._order), standing))
        heapify(heap)
        self._heap = heap

    def next_after(self, trigger: Trigger, moment: datetime) -> datetime | None:
        """Return the trigger's next fire after *moment*, computed once for all equal triggers."""
        key = (trigger, moment)
        try:
            return self._cache[key]
        except KeyError:
            if len(self._cache) >= CACHED:
                self._cache.clear()
            fire = self._cache[key] = _later(trigger.next_after(moment), moment)
            return fire

    def take_due(self, now: datetime, limit: int) -> list[Standing]:
        """Take up to *limit* standings whose fire is due off the heap; each must be settled again."""
        heap, bound = self._heap, to_ms(now)
        due: list[Standing] = []
        while heap and heap[0][0] <= bound and len(due) < limit:
            due.append(heappop(heap)[2])
        return due

    def settle(self, standing: Standing, mark: datetime) -> None:
        """Put a taken standing back with its new mark; one whose trigger fails is left out from now on."""
        standing.mark = mark
        try:
            if standing.asked:
                standing.fire = self.asking.settle(standing.job.name, mark)
            else:
                standing.fire = self.next_after(standing.trigger, mark)
        except Exception as exc:
            standing.fire = None
            self.broken[standing.job.name] = _told(exc)
            logger.error("job %s has no next fire: %s", in_line(standing.job.name), self.broken[standing.job.name])
        if standing.fire is not None:
            heappush(self._heap, (to_ms(standing.fire), next(self._order), standing))

    @property
    def next_fire_ms(self) -> int | None:
        """When the next fire is due, in milliseconds since 1970; None if none is."""
        return self._heap[0][0] if self._heap else None


def _later(fire: datetime | None, moment: datetime) -> datetime | None:
    """Return a fire in whole milliseconds. One that is not later than *moment* would be due for ever, and is refused.

    Our own triggers see to both; a user's may not.
    """
    if fire is None:
        return None
    if rest := fire.microsecond % 1000:
        fire += timedelta(microseconds=1000 - rest)
    if fire <= moment:
        fault = f"gave {fire.isoformat()} as the next fire after {moment.isoformat()}"
        raise TriggerError("its trigger", fault, "next_after has to return a later one, or None")
    return fire


def _told(exc: Exception) -> str:
    return in_line(exc) if isinstance(exc, TriggerError) else error_in_line(exc)
