"""Interrupting runs: what the store asks for, carried out by whatever can end the run in this pool."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from celery.concurrency.base import BasePool

from celery_legion.command import TASK
from celery_legion.context import Context
from celery_legion.stores.base import Interruption
from celery_legion.worker.acts import Launch
from celery_legion.worker.begun import Begun, BegunRuns
from celery_legion.worker.process import SHIM
from celery_legion.worker.recorder import DYING, GRACE, NO_TIME

logger = logging.getLogger(__name__)

AGAIN = 2.0
"""Seconds beyond its grace after which an interruption that has ended nothing is carried out by other means."""

FORGOTTEN = 300.0
"""Seconds after which it is forgotten how often a run was interrupted."""

SHIM_ROUNDS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGUSR1)
"""What a shim is told: first to ask its pool process how; should that be stuck, to end the command, and to kill it."""


def signal_shim(launch: Launch, number: int) -> bool:
    """Ask a command's shim to end it (SIGTERM), to kill it (SIGUSR1), or to ask how (SIGUSR2); False if it is gone."""
    try:
        # Its process id may be another's by now.
        if SHIM.encode() not in Path(f"/proc/{launch.shim}/cmdline").read_bytes():
            return False
    except OSError:
        if os.path.isdir("/proc/self"):
            return False
    with suppress(ProcessLookupError):
        os.kill(launch.shim, number)
        return True
    return False


def has_processes(pool: Any) -> bool:
    """Return whether a pool executes tasks in processes of its own, which can be killed."""
    return "terminate_job" in vars(pool)


def can_terminate(pool: Any) -> bool:
    """Return whether a pool can end a task that it executes."""
    # Prefork puts its own on the instance.
    return has_processes(pool) or type(pool).terminate_job is not BasePool.terminate_job


class Loop:
    """Calls functions in the worker's own loop: requests and connections are not to be touched from another thread."""

    def __init__(self) -> None:
        self._consumer: Any = None
        self._calls: deque[Callable[[], None]] = deque()
        self._read, self._write = os.pipe()
        for end in (self._read, self._write):
            os.set_blocking(end, False)

    def attach(self, consumer: Any) -> None:
        """Call in *consumer*'s loop from now on."""
        self._consumer = consumer
        if consumer.hub is not None:
            consumer.hub.add_reader(self._read, self._wake)

    def call(self, function: Callable[[], None]) -> None:
        """Call *function* there soon."""
        self._calls.append(function)
        if self._consumer.hub is None:
            self._consumer.call_soon(self._run)
            return
        # A full pipe wakes as well.
        with suppress(OSError):
            os.write(self._write, b".")

    def _wake(self, *_: Any) -> None:
        with suppress(OSError):
            os.read(self._read, 4096)
        self._run()

    def _run(self) -> None:
        while self._calls:
            function = self._calls.popleft()
            try:
                function()
            except Exception:
                logger.exception("An interruption went wrong")


class Interrupter:
    """Ends runs of one worker. Called by the renewal thread, for each renewal that says so."""

    def __init__(self, context: Context, begun: BegunRuns) -> None:
        self.context = context
        self.begun = begun
        self.loop = Loop()
        self._consumer: Any = None
        self._rounds: dict[tuple[str, int], tuple[int, float]] = {}
        self._looks: list[float] = []
        self._kills: list[tuple[float, Any, int, Any]] = []

    def attach(self, consumer: Any) -> None:
        """Work for *consumer*."""
        self._consumer = consumer
        self.loop.attach(consumer)

    def due_in(self) -> float | None:
        """Return the seconds until there is something to kill or to look at again, None if there is nothing."""
        due = [*self._looks, *(kill[0] for kill in self._kills)]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def act_due(self) -> bool:
        """Kill what is due; return whether runs that were interrupted should be looked at again."""
        now = time.monotonic()
        for kill in [kill for kill in self._kills if kill[0] <= now]:
            self._kills.remove(kill)
            kill_unless_ready(*kill[1:])
        later = [look for look in self._looks if look > now]
        passed, self._looks = len(later) < len(self._looks), later
        return passed

    def kill_later(self, seconds: float, pool: Any, pid: int, job: Any) -> None:
        """Kill a pool process in *seconds*, if it is at *job* then. The consumer's timer may be cleared meanwhile."""
        self._kills.append((time.monotonic() + seconds, pool, pid, job))

    def launched(self, run_id: str) -> None:
        """End a command that was to be ended before it was launched."""
        number, launch = self.begun.doom_of(run_id), self.begun.launch_of(run_id)
        if number is not None and launch is not None:
            signal_shim(launch, number)

    def interrupt(self, run: Begun) -> None:
        """Carry out what the store asks for *run*: once, and by other means where that has not ended it.

        Raises:
            StoreError: It could not be asked, or told.
        """
        key = (run.run_id, run.token)
        now = time.monotonic()
        number, not_before = self._round(key, now)
        request = run.request()
        if now < not_before or request is None:
            return
        asked = self.context.store.interruption(run.run_id)
        if asked is None or asked.refused is not None or not self._act(run, request, asked, number):
            return
        again = now + asked.grace.total_seconds() + AGAIN
        self._rounds[key] = (number + 1, again)
        self._looks.append(again)

    def can_end(self, run: Begun) -> bool:
        """Return whether *run* can be ended from here."""
        request = run.request()
        return request is not None and (request.task.name == TASK or can_terminate(self._consumer.pool))

    def end_lost(self, run: Begun) -> bool:
        """End a run in whose place another may run, by SIGTERM and later by SIGKILL.

        Callable at every renewal; returns True when it has begun with it.
        """
        now, request = time.monotonic(), run.request()
        number, not_before = self._round((run.run_id, run.token), now)
        if now < not_before or request is None:
            return False
        again = now + DYING.total_seconds() + AGAIN
        self._rounds[run.run_id, run.token] = (number + 1, again)
        self._looks.append(again)
        self._terminate(request, signal.SIGTERM if number == 0 else signal.SIGKILL, DYING)
        return number == 0

    def _round(self, key: tuple[str, int], now: float) -> tuple[int, float]:
        """Return which round is next for a run's attempt, and when it may begin; forget those of long ago."""
        self._rounds = {known: when for known, when in self._rounds.items() if when[1] > now - FORGOTTEN}
        return self._rounds.get(key, (0, 0.0))

    def _act(self, run: Begun, request: Any, asked: Interruption, number: int) -> bool:
        """Do what is to be done in round *number*; False if there was nothing to do it to."""
        if request.task.name == TASK:
            launch = self.begun.launch_of(run.run_id)
            if launch is None or not signal_shim(launch, SHIM_ROUNDS[min(number, len(SHIM_ROUNDS) - 1)]):
                # Not launched yet, or over already: the next renewal knows.
                return False
        elif can_terminate(self._consumer.pool):
            if number == 0:
                self._terminate(request, asked.signal, asked.grace)
        else:
            pool = type(self._consumer.pool).__module__.rpartition(".")[2]
            why = f"a callable in a {pool} pool cannot be terminated; use prefork, or make it a command"
            logger.warning("Run %s is not interrupted: %s", run.run_id, why)
            self.context.store.refuse(run.run_id, run.token, why)
            return False
        if number == 0:
            logger.info("Run %s is being interrupted, by signal %d", run.run_id, asked.signal)
        return True

    def _terminate(self, request: Any, number: int, grace: timedelta) -> None:
        """End a callable, by whoever does not wait: a full pool blocks a worker that has no event loop.

        Celery announces the end to the broker, which may hang: nothing of that belongs to this thread.
        """
        consumer = self._consumer
        pool = consumer.pool
        setattr(request._context, GRACE, grace)
        if pool.is_green:
            threading.Thread(target=request.terminate, args=(pool, number), name="legion-end", daemon=True).start()
        elif consumer.hub is not None or not has_processes(pool):
            self.loop.call(lambda: request.terminate(pool, number))
        elif not request.time_start:
            # Celery terminates it as soon as a process takes it.
            request._terminate_on_ack = pool, number
        else:
            self._signal(request, pool, number, grace)

    def _signal(self, request: Any, pool: Any, number: int, grace: timedelta) -> None:
        """Signal the pool process at *request*; the pool itself finds that it has ended, and Celery announces it."""
        job = None if request._apply_result is None else request._apply_result()
        if job is not None and not job.ready():
            # Announced when the process is dead.
            setattr(request._context, GRACE, NO_TIME)
            pool.terminate_job(request.worker_pid, number)
            if number != signal.SIGKILL:
                self.kill_later(grace.total_seconds(), pool, request.worker_pid, job)


def kill_unless_ready(pool: Any, pid: int, job: Any) -> None:
    """Kill a pool process that was told to terminate *job* and is still at it; by now it may be at another one."""
    processes = getattr(getattr(pool, "_pool", None), "_pool", ())
    if job is not None and not job.ready() and any(process.pid == pid for process in processes):
        pool.terminate_job(pid, signal.SIGKILL)
