"""The onlooker: notices, from where the messages arrive, who schedules beside those who should."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from celery import signals

from celery_legion.context import Context
from celery_legion.control import in_line
from celery_legion.engine.company import place_of, unguarded_leader
from celery_legion.header import SENT
from celery_legion.run import Kind
from celery_legion.stores.base import Lead
from celery_legion.worker.current import raw_header

logger = logging.getLogger(__name__)

BEAT, NAME = "celery_beat_task", "periodic_task_name"
"""What Celery's beat, and schedulers over it, write into the headers of what they send; the second has the entry."""

LANE = "exchange", "routing_key", "priority"
"""What of a message's delivery tells its queue. Within one, brokers keep the order."""

LOOK_EVERY = 30.0
"""Seconds between two looks at who leads: at most twice a minute anything is said."""

REMIND_EVERY = 600.0
"""Seconds after which another beat is told of again, if it still sends."""

NOTED = 100
"""Most entries of others that are noted between two looks."""

NAMED = 3
"""How many jobs of one task are named."""


class Onlooker:
    """Notes messages of other beats where they are received, and says of them in the renewal's thread.

    A message of a beat without our header is another's (those of our schedulers carry one also where they stand for no
    run, as a broadcast's do), or is older than the leader: a queue still holds what a beat before a switch has sent. So
    it counts only once a fire of the leader's has come through the same queue before it, and if it comes for the first
    time. It is told of only where the leader sends the same entry, so that its fires run twice.
    """

    def __init__(self, context: Context, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.context = context
        self._monotonic = monotonic
        self._noted: dict[tuple[str, str | None], None] = {}
        self._lanes: set[tuple[str, ...]] = set()
        self._look_at = 0.0
        self._remind_at = 0.0

    def connect(self) -> None:
        """Be told of each message that this process's workers receive; weakly."""
        signals.task_received.connect(self.receive)

    def receive(self, request: Any = None, **_: Any) -> None:
        """Note a message of another beat. Runs for every message: it reads two headers, and nothing else of most."""
        headers = getattr(request, "request_dict", None)
        if not isinstance(headers, Mapping) or not (headers.get(BEAT) or headers.get(NAME)):
            return
        delivery = getattr(request, "delivery_info", None) or {}
        if delivery.get("redelivered") or headers.get("retries"):
            return
        lane = tuple(str(delivery.get(key)) for key in LANE)
        if (raw := raw_header(headers)) is not None:
            if isinstance(raw, Mapping) and raw.get("kind") == Kind.SCHEDULED.value and len(self._lanes) < NOTED:
                self._lanes.add(lane)
        elif not raw_header(headers, SENT) and lane in self._lanes and len(self._noted) < NOTED:
            name = headers.get(NAME)
            self._noted[str(request.name), str(name) if name else None] = None

    def look(self) -> None:
        """Say what is wrong with who leads, and of another beat's messages; asks the store at most twice a minute.

        Raises:
            StoreUnavailableError: The store does not answer.
        """
        now = self._monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY
        leader = next((lead for lead in self.context.store.schedulers() if lead.epoch), None)
        if leader is None or not leader.info.guarded:
            # Then the other beat is the only one, as before a switch, or the leader's own messages have no header.
            self._noted.clear()
            self._lanes.clear()
            if leader is not None:
                logger.warning("%s", unguarded_leader(leader))
            return
        if self._noted and now >= self._remind_at and (words := self._doubled(leader)) is not None:
            self._remind_at = now + REMIND_EVERY
            logger.warning("%s", words)
        self._noted.clear()

    def _doubled(self, leader: Lead) -> str | None:
        """Return what to say of another beat that sends what the leader sends too; None if none does."""
        ours = self._jobs()
        # An entry that says its name is only one of the same name: a task may have several.
        found = (
            _words(task, sorted(job for job in ours.get(task, ()) if name is None or name == job))
            for task, name in list(self._noted)
        )
        twice = sorted({words for words in found if words is not None})
        if not twice:
            return None
        more = f" and {len(twice) - 1} more" if len(twice) > 1 else ""
        return (
            f"another beat sends {twice[0]}{more}, which the scheduler {place_of(leader)} sends too, so "
            "that its fires run twice: stop that beat (one without -S celery_legion.Scheduler, RedBeat, or another "
            "package's), or take the job out of what it sends"
        )

    def _jobs(self) -> dict[str, list[str]]:
        """Return the names of the jobs by their tasks, as this worker's app has them."""
        found: dict[str, list[str]] = {}
        registry = self.context.registry
        for name, job in registry.described().items():
            found.setdefault(job.action.task, []).append(name)
        for name, entry in dict(self.context.app.conf.beat_schedule or {}).items():
            task = entry.get("task") if isinstance(entry, Mapping) else getattr(entry, "task", None)
            found.setdefault(str(task), []).append(name)
        return found


def _words(task: str, jobs: list[str]) -> str | None:
    """Return a message's job in words: which of several of one task it is, Celery's own beat does not say."""
    if not jobs:
        return None
    if len(jobs) == 1:
        return f"job {in_line(jobs[0])}"
    named = ", ".join(map(in_line, jobs[:NAMED])) + (", …" if len(jobs) > NAMED else "")
    return f"a job of task {in_line(task)} ({named})"
