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
from celery_legion.stores.base import Lead
from celery_legion.worker.current import raw_header

logger = logging.getLogger(__name__)

BEAT, NAME = "celery_beat_task", "periodic_task_name"
"""What Celery's beat, and schedulers over it, write into the headers of what they send; the second has the entry."""

LOOK_EVERY = 30.0
"""Seconds between two looks at who leads: at most twice a minute anything is said."""

REMIND_EVERY = 600.0
"""Seconds after which another beat is told of again, if it still sends."""

NOTED = 100
"""Most entries of others that are noted between two looks."""


class Onlooker:
    """Notes messages of other beats where they are received, and says of them in the renewal's thread.

    A message of a beat is another's for sure: those of our schedulers carry a header of their own,
    also those that stand for no run, as a broadcast's do. It is told of only where a scheduler of ours leads and sends
    the same entry, so that its fires run twice.
    """

    def __init__(self, context: Context, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.context = context
        self._monotonic = monotonic
        self._noted: dict[tuple[str, str | None], None] = {}
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
        if raw_header(headers, SENT) or raw_header(headers) is not None or len(self._noted) >= NOTED:
            return
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
        if leader is None:
            # Then the other beat is the only one, as before a switch.
            self._noted.clear()
            return
        if not leader.info.guarded:
            logger.warning("%s", unguarded_leader(leader))
        if self._noted and now >= self._remind_at and (words := self._doubled(leader)) is not None:
            self._remind_at = now + REMIND_EVERY
            logger.warning("%s", words)
        self._noted.clear()

    def _doubled(self, leader: Lead) -> str | None:
        """Return what to say of another beat that sends what the leader sends too; None if none does."""
        ours = self._jobs()
        twice = sorted(
            {
                job
                for task, name in list(self._noted)
                for job in ours.get(task, ())
                # An entry that says its name is only one of the same name: a task may have several.
                if name is None or name == job
            }
        )
        if not twice:
            return None
        more = f" and {len(twice) - 1} more" if len(twice) > 1 else ""
        return (
            f"another beat sends job {in_line(twice[0])}{more}, which the scheduler {place_of(leader)} sends too, so "
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
