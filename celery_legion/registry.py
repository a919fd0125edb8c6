"""The registry: an app's jobs by name, from decorators, builders, late functions and ``beat_schedule``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import astuple, replace
from hashlib import sha1
from types import MappingProxyType
from typing import Any, Protocol

from celery.backends.base import DisabledBackend
from celery.schedules import crontab

from celery_legion.config import Config, cron_deadline
from celery_legion.control import error_in_line
from celery_legion.errors import ConfigurationError, DuplicateJobError, InvalidJobError, LegionError, UnknownJobError
from celery_legion.hook import NAMES, NO_HOOKS, Hooks, hook_name
from celery_legion.interop import Shared, broken_job, job_of_entry
from celery_legion.job import Job, Overlap, Policy
from celery_legion.planner import trigger_print
from celery_legion.target import stand_in
from celery_legion.triggers import Cron

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

    def belongs_to(self, app: Any) -> bool:
        """Return whether the job is on *app*'s schedule: what runs another app's own task is not."""
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
        self._app = app
        self._guarded = False
        self._specifications: list[Specification] = []
        self._entries: dict[str, Mapping[str, Any]] = {}
        self._late: list[Callable[[], object]] = []
        self._jobs: Mapping[str, Job] | None = None
        self._seen: tuple[int, int, int] | None = None
        self._fingerprint: tuple[Mapping[str, Job], str] | None = None
        self._described: tuple[tuple[int, int], dict[str, Job]] | None = None
        self.hooks = NO_HOOKS

    @property
    def guarded(self) -> bool:
        """Whether runs may hold locks."""
        return self._guarded

    @guarded.setter
    def guarded(self, guarded: bool) -> None:
        self._guarded = guarded
        self._jobs = None

    @property
    def jobs(self) -> Mapping[str, Job]:
        """All jobs by name: the same mapping until something is added, to ``beat_schedule`` too.

        Finalizes the app, since its tasks and periodic tasks are complete only then. An entry of ``beat_schedule``
        that is written wrongly is a job with a ``problem``: such entries come from files and databases, and beat
        runs the others. A job that is described in code is its programmer's to mend before anything starts.

        Raises:
            LegionError: A job that is described in code cannot be built, or two carry one name.
        """
        jobs = self._jobs
        if jobs is None or self._seen != self._state():
            self._run_late()
            self._seen = self._state()
            jobs = self._jobs = MappingProxyType(self._build())
        return jobs

    def _state(self) -> tuple[int, int, int]:
        """What changes when a decorator or ``add_periodic_task`` adds a job."""
        entries = self._app.conf.beat_schedule
        return len(_decorated), id(entries), len(entries or ())

    def get(self, name: str) -> Job:
        """Return the job of that name.

        Raises:
            UnknownJobError: There is none.
        """
        jobs = self.jobs
        if name not in jobs:
            raise UnknownJobError(name, jobs)
        return jobs[name]

    def find(self, name: str) -> Job | None:
        """Return the described job of that name; None if there is none, or it is wrong."""
        return self.described().get(name)

    def described(self) -> Mapping[str, Job]:
        """Return what a worker needs to know: the jobs that are described in code, by name, without wrong ones.

        Those are logged where tasks are registered. An entry of ``beat_schedule`` says nothing to a worker.
        """
        # Asked in every run: what has been added is told by two counts.
        seen = (len(_decorated), len(self._specifications))
        if self._described is None or self._described[0] != seen:
            config, found = Config.of(self._app), {}
            for specification in self._all():
                with suppress(LegionError):
                    job = specification.build(self._app, config)
                    found[job.name] = job
            self._described = (seen, found)
        return self._described[1]

    def knows(self, name: str) -> bool:
        """Return whether *name* is a described job, or an entry of ``beat_schedule``."""
        return name in self.described() or name in self._beat_entries()

    def hooks_of(self, job: Job | None) -> Hooks:
        """Return the hooks of a job, its own first, then the whole schedule's."""
        own = NO_HOOKS if job is None else job.policy.hooks
        return own + self.hooks if self.hooks is not NO_HOOKS else own

    def places(self) -> list[str]:
        """Return where the jobs were written down, as ``file:line``."""
        return [specification.place for specification in self._all()]

    def hook_modules(self) -> set[str]:
        """Return the modules of the whole schedule's hooks."""
        hooks = [hook for name in NAMES for hook in getattr(self.hooks, name)]
        return {str(module) for hook in hooks if (module := getattr(hook, "__module__", None)) is not None}

    def move_to(self, app: Any) -> None:
        """Belong to *app* from now on, which Celery has in place of the present one in a spawned pool process."""
        stand_in(self._app, app)
        self._app, self._jobs, self._described = app, None, None

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
        for specification in self._all():
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
                print_ = ""
                # A user's trigger that cannot be shown is left out by schedulers.
                with suppress(Exception):
                    print_ = trigger_print(job.trigger)
                digest.update(f"{name}\0{job.action.task}\0{print_}\n".encode(errors="replace"))
            self._fingerprint = (jobs, digest.hexdigest()[:16])
        return self._fingerprint[1]

    def _all(self) -> list[Specification]:
        return [*(one for one in _decorated if one.belongs_to(self._app)), *self._specifications]

    def _run_late(self) -> None:
        if not self._app.finalized:
            self._app.finalize(auto=True)
        while self._late:
            self._late[0]()
            # Only now: one that failed is called again, and its jobs are not silently missing.
            self._late.pop(0)

    def _build(self) -> dict[str, Job]:
        app = self._app
        config = Config.of(app)
        jobs: dict[str, Job] = {}
        policies: dict[Policy, Policy] = {}
        for specification in self._all():
            job = specification.build(app, config)
            # A condition that cannot be hashed keeps its policy to itself.
            with suppress(TypeError):
                job = replace(job, policy=policies.setdefault(job.policy, job.policy))
            known = jobs.get(job.name)
            if known is not None and not _is_again(known, job):
                raise DuplicateJobError(job.name, known.place, job.place)
            jobs[job.name] = job
        shared: Shared = {}
        policy = Policy(overlap=config.overlap if self.guarded else Overlap.ALLOW)
        # As in Celery, the deadline is for crontabs; an asked one keeps it by itself.
        timed = replace(policy, send_deadline=cron_deadline(app))
        for name, entry in self._beat_entries().items():
            if name in jobs:
                raise DuplicateJobError(name, jobs[name].place, "beat_schedule")
            try:
                job = job_of_entry(name, entry, app, policy, shared)
                jobs[name] = replace(job, policy=timed) if isinstance(job.trigger, Cron) else job
            except InvalidJobError as exc:
                jobs[name] = broken_job(name, entry, exc.problem)
            except Exception as exc:
                # Beat leaves out an entry that it cannot read, whatever is in it, and runs the others.
                problem = f"its beat_schedule entry cannot be read ({error_in_line(exc)})"
                jobs[name] = broken_job(name, entry, problem)
        return jobs

    def _beat_entries(self) -> dict[str, Mapping[str, Any]]:
        app = self._app
        written = app.conf.beat_schedule or {}
        if not isinstance(written, Mapping):
            raise ConfigurationError("beat_schedule", "a dict of entries by name", written)
        # Beat takes a number for a name, too.
        entries: dict[str, Mapping[str, Any]] = {str(name): entry for name, entry in written.items()} | self._entries
        keeps = not isinstance(app.backend, DisabledBackend) and not app.backend.supports_autoexpire
        if CLEANUP not in entries and app.conf.result_expires and keeps:
            # As Celery's own scheduler does, for backends that keep results for ever.
            entries[CLEANUP] = {"task": CLEANUP, "schedule": crontab("0", "4", "*"), "options": {"expires": 12 * 3600}}
        return entries


def _is_again(known: Job, job: Job) -> bool:
    """Whether a job is one that was read before: from the same place, by a reloaded module say, and saying the same."""
    return known.place == job.place and _said(known) == _said(job)


def _said(job: Job) -> str:
    """What was said of a job, in a form that survives a reload: functions by their names."""
    policy = job.policy
    hooks = [(name, hook) for name in NAMES for hook in getattr(policy.hooks, name)]
    # Its own text masks secrets, and leaves out how it is executed.
    command = None if job.action.command is None else astuple(job.action.command)
    conditions = [getattr(one, "__qualname__", type(one).__qualname__) for one in (*policy.when, *policy.skip)]
    conditions += [f"{name} {hook_name(hook)} {getattr(hook, 'url', '')}" for name, hook in hooks]
    plain = replace(
        job,
        policy=replace(policy, when=(), skip=(), hooks=NO_HOOKS),
        kwargs=dict(job.kwargs),
        options=dict(job.options),
    )
    return f"{plain!r} {conditions} {command}"
