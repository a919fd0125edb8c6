"""The scheduler that ``celery beat -S celery_legion.Scheduler`` runs.

Celery's contract on one side, the engine on the other.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import click
from celery import beat, signals
from celery.result import denied_join_result

from celery_legion import leftovers
from celery_legion.context import Context
from celery_legion.engine import Dispatch, Engine, OneShot
from celery_legion.errors import EagerTasksError, LegionError
from celery_legion.interop import celery_schedule
from celery_legion.job import Job
from celery_legion.url import safe_url

logger = logging.getLogger(__name__)

LONGEST_WAIT = 1.0


class Entry(beat.ScheduleEntry):
    """One dispatch as Celery's schedule entry, which is what monitors wrap and read."""

    dispatch: Dispatch | None = None

    def _next_instance(self, last_run_at: Any = None) -> Entry:
        """Return the entry itself: where a job stands is the engine's to know."""
        return self

    __next__ = next = _next_instance


class Scheduler(beat.Scheduler):
    """Celery's scheduler contract over the engine.

    ``tick()`` called by anyone runs one pass, never blocks, and returns the seconds until the next
    is wanted. When a beat service drives it (it saw ``beat_init`` of that service), ``tick()`` also waits, until the
    store nudges it or at most a second, and returns 0: beat's own sleep could not be woken.
    """

    Entry = Entry
    max_interval = LONGEST_WAIT

    def __init__(self, app: Any, *args: Any, lazy: bool = False, **kwargs: Any) -> None:
        self.context = Context.of(app)
        self._engine: Engine | None = None
        self._pid = 0
        self._driven = False
        with _one_line_errors():
            super().__init__(app, *args, lazy=lazy, **kwargs)

    def setup_schedule(self) -> None:
        """Read settings and jobs, so that what cannot work is refused at the start.

        Raises:
            LegionError: A setting, a job, or ``task_always_eager`` cannot work. From a command line it is
                logged as one line and beat exits with the error's code.
        """
        if self.app.conf.task_always_eager:
            raise EagerTasksError
        registry = self.context.registry
        jobs = registry.jobs
        # Opened, not talked to: a URL that no driver takes is refused here and not by the first pass.
        _ = self.context.store
        logger.debug("%d jobs, store %s", len(jobs), self.context.config.key_prefix)

    @property
    def schedule(self) -> dict[str, Any]:
        """The jobs as Celery's entries, by name; entries of :meth:`add` become jobs."""
        return {job.name: self._entry_of(job) for job in self.context.registry.jobs.values()}

    @schedule.setter
    def schedule(self, schedule: Any) -> None:
        self.data = schedule

    def add(self, **kwargs: Any) -> Any:
        """Add an entry with the arguments of Celery's ``ScheduleEntry``; it becomes a job."""
        entry = beat.ScheduleEntry(app=self.app, **kwargs)
        self.update_from_dict({entry.name: entry})
        return entry

    def update_from_dict(self, dict_: dict[str, Any]) -> None:
        """Make jobs of entries in the form of ``beat_schedule``."""
        for name, entry in dict_.items():
            self.context.registry.add_entry(name, entry)

    def merge_inplace(self, b: dict[str, Any]) -> None:
        """Make jobs of the entries of *b*; the app's own ``beat_schedule`` is read by the registry."""
        self.update_from_dict(b)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Run one pass; see the class for when it waits as well."""
        engine = self.engine
        delay = engine.tick()
        if not self._driven:
            return min(delay, self.max_interval)
        if delay > 0:
            engine.wait(min(delay, self.max_interval, LONGEST_WAIT))
        return 0.0

    @property
    def one_shot(self) -> OneShot:
        """A pass that needs no lead, and sends as this scheduler does."""
        return OneShot(self.context, self._send)

    @property
    def engine(self) -> Engine:
        """The engine of this process; made at first use, so after any fork."""
        if self._engine is None or self._pid != os.getpid():
            self._engine = Engine(self.context, self._send)
            self._pid = os.getpid()
        return self._engine

    def _send(self, dispatch: Dispatch, producer: Any) -> None:
        entry = Entry(
            app=self.app,
            name=dispatch.job,
            task=dispatch.message.task,
            schedule=dispatch.schedule,
            args=dispatch.message.args,
            kwargs=dispatch.message.kwargs,
            options=dispatch.options(),
            last_run_at=dispatch.fire_time,
        )
        entry.dispatch = dispatch
        # Exactly one positional argument: monitors that wrap apply_entry unpack it so.
        self.apply_entry(entry, producer=producer)

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        """Make one entry's message. How a dispatch went is written on it, and the engine says so in a line.

        The engine's producer keeps the message, and sends it afterwards.

        Celery's ``apply_entry`` would log each error with its whole stack, and swallow it: a broker's outage would fill
        the log.

        Raises:
            SchedulingError: It could not be sent, and is no dispatch of the engine's.
        """
        dispatch = getattr(entry, "dispatch", None)
        try:
            result = self._apply(entry, producer, **kwargs)
        except Exception as exc:
            if dispatch is not None:
                dispatch.error = exc
                return None
            raise beat.SchedulingError(f"job {entry.name} could not be sent: {exc}") from exc
        if dispatch is not None:
            dispatch.result = result
        return result

    def _apply(self, entry: Any, producer: Any, **kwargs: Any) -> Any:
        args, call = list(entry.args or ()), dict(entry.kwargs or {})
        options = {**entry.options, **kwargs}
        task = self.app.tasks.get(entry.task)
        with _without_result_backend():
            if task is not None:
                return task.apply_async(args, call, producer=producer, **options)
            return self.send_task(entry.task, args, call, producer=producer, **options)

    def _entry_of(self, job: Job) -> Any:
        return Entry(
            app=self.app,
            name=job.name,
            task=job.action.task,
            schedule=celery_schedule(job),
            args=job.args,
            kwargs=dict(job.kwargs),
            options=dict(job.options),
        )

    def close(self) -> None:
        """Resign and drop the connections. Runs twice on SIGTERM, and inside whatever ``tick()`` was doing."""
        engine = self._engine
        if engine is not None and self._pid == os.getpid():
            engine.close()

    @property
    def info(self) -> str:
        """What beat's banner says of the store; never fails and talks to nobody."""
        try:
            config = self.context.config
            return f"    . store -> {safe_url(config.store_url)}\n    . prefix -> {config.key_prefix}"
        except Exception:
            # Why is logged where the service starts, right below.
            return "    . store -> none, see the error below"


@signals.beat_init.connect
def _on_beat_init(sender: Any = None, **kwargs: Any) -> None:
    """Remember that a beat service drives its scheduler. The service has built it by now."""
    scheduler = getattr(sender, "__dict__", {}).get("scheduler")
    if isinstance(scheduler, Scheduler):
        scheduler._driven = True
        leftovers.watch(scheduler.context)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """From a command line, turn an error of ours into one line and its exit code."""
    try:
        yield
    except LegionError as exc:
        if click.get_current_context(silent=True) is None:
            raise
        # Where nothing is logged yet, logging writes it to standard error as it is.
        logger.critical("celery_legion: %s", exc)
        raise SystemExit(exc.exit_code) from exc


class _Denial:
    """Keeps the result backend out of the publish path: it may hang a tick for minutes.

    The flag is the whole process's, so it is set by the first of several threads and lifted by the last, and left alone
    where beat runs in a thread beside a worker's tasks.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._flag = ExitStack()
        self._count = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        thread = threading.current_thread()
        if thread is not threading.main_thread() and not getattr(thread, "of_main", False):
            yield
            return
        with self._lock:
            if not self._count:
                self._flag.enter_context(denied_join_result())
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                if not self._count:
                    self._flag.close()


_without_result_backend = _Denial()
