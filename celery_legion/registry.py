"""The registry: an app's jobs by name, from decorators, builders, late functions and ``beat_schedule``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from hashlib import sha1
from types import MappingProxyType
from typing import Any, Protocol

from celery.schedules import crontab

from celery_legion.config import Config
from celery_legion.errors import DuplicateJobError, LegionError, UnknownJobError
from celery_legion.interop import job_of_entry
from celery_legion.job import Job, Overlap, Policy
from celery_legion.planner import trigger_print

logger = logging.getLogger(__name__)

CLEANUP = "celery.backend_cleanup"


class Specification(Protocol):
    """Something that makes a job when the schedule is read."""

    place: str

    def register_task(self, app: Any) -> None:
        """Make the task that the job sends known to *app*."""
        ...

    def build(self, app: Any, config: Config) -> Job:
        """Return the job."""
        ...


_decorated: list[Specification] = []


def decorate(specification: Specification) -> None:
    """Put a decorator's job on the schedule of every app of this process, also of those to come."""
    _decorated.append(specification)


class Registry:
    """The jobs of one app. They are worked out when first read, and again when something was added.

    ``guarded`` says that ``Legion(app)`` stands in the app: its workers release locks, so jobs may have them.
    """

    def __init__(self, app: Any) -> None:
        self.guarded = False
        self._app = app
        self._specifications: list[Specification] = []
        self._entries: dict[str, Mapping[str, Any]] = {}
        self._late: list[Callable[[], object]] = []
        self._jobs: Mapping[str, Job] | None = None
        self._seen = 0
        self._fingerprint: tuple[Mapping[str, Job], str] | None = None

    @property
    def jobs(self) -> Mapping[str, Job]:
        """All jobs by name: the same mapping until something is added.

        Raises:
            LegionError: A job cannot be built, or two carry one name.
        """
        jobs = self._jobs
        if jobs is None or self._seen != len(_decorated):
            self._run_late()
            self._seen = len(_decorated)
            jobs = self._jobs = MappingProxyType(self._build())
        return jobs

    def get(self, name: str) -> Job:
        """Return the job of that name.

        Raises:
            UnknownJobError: There is none.
        """
        jobs = self.jobs
        if name not in jobs:
            raise UnknownJobError(name, jobs)
        return jobs[name]

    def add(self, specification: Specification) -> None:
        """Add a job that is still being described."""
        self._specifications.append(specification)
        self._jobs = None

    def add_entry(self, name: str, entry: Mapping[str, Any]) -> None:
        """Add an entry in the form of ``beat_schedule``; one of the same name is replaced."""
        self._entries[name] = entry
        self._jobs = None

    def on_enable(self, function: Callable[[], object]) -> None:
        """Call *function* once, before the jobs are first read, for it to register more of them."""
        self._late.append(function)
        self._jobs = None

    def register_tasks(self) -> None:
        """Make the tasks of all callables known to the app, for its workers. A job that cannot be is logged."""
        self._run_late()
        for specification in (*_decorated, *self._specifications):
            try:
                specification.register_task(self._app)
            except LegionError as exc:
                logger.error("%s", exc)

    def fingerprint(self) -> str:
        """Return a text that differs for schedules that differ in names, tasks or triggers."""
        jobs = self.jobs
        if self._fingerprint is None or self._fingerprint[0] is not jobs:
            digest = sha1(usedforsecurity=False)
            for name in sorted(jobs):
                job = jobs[name]
                digest.update(f"{name}\0{job.action.task}\0{trigger_print(job.trigger)}\n".encode())
            self._fingerprint = (jobs, digest.hexdigest()[:16])
        return self._fingerprint[1]

    def _run_late(self) -> None:
        while self._late:
            self._late.pop(0)()

    def _build(self) -> dict[str, Job]:
        app = self._app
        config = Config.of(app)
        policies: dict[Policy, Policy] = {}
        jobs: dict[str, Job] = {}
        for specification in (*_decorated, *self._specifications):
            job = specification.build(app, config)
            known = jobs.get(job.name)
            if known is not None and known.place != job.place:
                raise DuplicateJobError(job.name, known.place, job.place)
            # The same place read twice, by a reloaded module say, is one job.
            jobs[job.name] = job
        policy = Policy(overlap=config.overlap if self.guarded else Overlap.ALLOW)
        for name, entry in self._beat_entries().items():
            if name in jobs:
                raise DuplicateJobError(name, jobs[name].place, "beat_schedule")
            jobs[name] = job_of_entry(name, entry, app, policy)
        for name, job in jobs.items():
            interned = policies.setdefault(job.policy, job.policy)
            if interned is not job.policy:
                object.__setattr__(job, "policy", interned)
            jobs[name] = job
        return jobs

    def _beat_entries(self) -> dict[str, Mapping[str, Any]]:
        app = self._app
        entries: dict[str, Mapping[str, Any]] = {**(app.conf.beat_schedule or {}), **self._entries}
        if CLEANUP not in entries and app.conf.result_expires and not app.backend.supports_autoexpire:
            # As Celery's own scheduler does, for backends that keep results for ever.
            entries[CLEANUP] = {"task": CLEANUP, "schedule": crontab("0", "4", "*"), "options": {"expires": 12 * 3600}}
        return entries
