"""The Request class that guarded tasks are received with: the gate in front, the main process's verdicts behind."""

from __future__ import annotations

import logging
import os
from signal import SIGKILL, SIGTERM, SIGUSR1, Signals
from typing import Any

from billiard.common import TERM_SIGNAME
from celery.exceptions import TimeLimitExceeded
from celery.platforms import signals
from celery.utils.imports import symbol_by_name
from celery.worker.request import Request

from celery_legion.command import TASK
from celery_legion.worker.current import raw_header
from celery_legion.worker.gate import Gate, Passage
from celery_legion.worker.interrupting import can_terminate, has_processes, signal_shim
from celery_legion.worker.recorder import DYING, GRACE, LINGERS, NO_TIME, Recorder
from celery_legion.worker.requests import put_back, running_other
from celery_legion.worker.succession import read_part

logger = logging.getLogger(__name__)


class GuardedRequest(Request):
    """A mixin over a task's own Request class. All it adds is skipped for messages that are no run of legion."""

    gate: Gate
    recorder: Recorder
    unguarded: Any
    passage: Passage | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gate.receive()
        if self.gate.making is not None:
            self.gate.making(self)
        readable = self.gate.readable(self) if self.guarded else None
        if readable is not None:
            # What monitors show. The message itself says nothing of the command.
            self._argsrepr = readable

    @property
    def guarded(self) -> bool:
        """Whether its message carries legion's header."""
        return raw_header(self.request_dict) is not None

    @property
    def process(self) -> int | None:
        """The process that executes it, as far as it is known: a command's own, which is not that of its task.

        Where the pool has no processes it is the worker's: greenlets give Celery the id of a greenlet instead.
        """
        launch = self.gate.begun.launch_of(self.id)
        if launch is not None:
            return launch.pid
        if self.task.name == TASK or not self.time_start:
            return None
        pid: int = self.worker_pid if has_processes(self.gate.consumer.pool) else os.getpid()
        return pid

    def revoked(self) -> bool:
        """Return whether it shall not be executed: for Celery's reasons, or for the gate's."""
        if self.guarded:
            self.gate.wait(self)
        if super().revoked():
            if self.guarded:
                put_back(self)
            return True
        return self.gate.refuses(self)

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Terminate it; a copy that has not started passes this on to the one that runs.

        A command is ended by its shim, in every pool: so nothing of it is left, and no pool process is lost. A callable
        that is not over after the grace is killed with its process.
        """
        running = running_other(self) if self.guarded and not self.time_start else None
        if running is not None:
            running.terminate(pool, signal)
        elif self.passage is None or not self.time_start:
            super().terminate(pool, signal)
        elif self.task.name != TASK:
            self._end_callable(pool, signals.signum(signal or TERM_SIGNAME))
        elif not self._end_command(pool, signals.signum(signal or TERM_SIGNAME)):
            setattr(self._context, GRACE, DYING)
            super().terminate(pool, signal)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        """Announce it with the signal that it is; Celery has a number here, or where its pool found it a text."""
        super()._announce_revoked(reason, terminated, as_signal(signum), expired)

    def _end_command(self, pool: Any, number: int) -> bool:
        """End a command by its shim; False if the pool must, since there is none yet."""
        begun, number = self.gate.begun, SIGUSR1 if number == SIGKILL else SIGTERM
        launch = begun.launch_of(self.id)
        if launch is None and can_terminate(pool):
            return False
        if launch is None:
            begun.doom(self.id, number)
            # It may have been launched in between.
            launch = begun.launch_of(self.id)
        if launch is not None:
            # One whose shim is gone is over.
            signal_shim(launch, number)
        return True

    def _end_callable(self, pool: Any, number: int) -> None:
        if not can_terminate(pool):
            logger.error("Run %s cannot be terminated: no callable can in this pool; it goes on", self.id)
            return
        if not has_processes(pool):
            if self.gate.begun.executes(self.id):
                pid = self.worker_pid
                self.gate.begun.linger(self.id, lambda: pid in getattr(pool, "_pool_map", (pid,)))
                setattr(self._context, LINGERS, True)
            self._end_greenlet(pool, number)
            return
        grace = NO_TIME if number == SIGKILL else getattr(self._context, GRACE, DYING)
        setattr(self._context, GRACE, grace)
        job = None if self._apply_result is None else self._apply_result()
        super().terminate(pool, number)
        if number != SIGKILL:
            self.gate.kill_later(grace.total_seconds(), pool, self.worker_pid, job)

    def _end_greenlet(self, pool: Any, number: int) -> None:
        try:
            super().terminate(pool, number)
        except BaseException:
            # It is this very greenlet, on the way to its code: what Celery would announce now is skipped.
            self._announce_revoked("terminated", True, number, False)
            raise

    def reject(self, requeue: bool = False) -> None:
        """Reject the message, and remember whether it will be delivered again."""
        if self.passage is not None and requeue and not self.acknowledged:
            self.passage.requeued = True
        super().reject(requeue=requeue)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Record a run that went over its hard time limit."""
        try:
            super().on_timeout(soft, timeout)
        finally:
            if self.passage is not None and self.passage.token and not soft:
                self.recorder.timed_out(self, self.passage, timeout)
            elif not soft and (part := read_part(self.request_dict)) is not None:
                self.recorder.succession.fail(part, TimeLimitExceeded(timeout))

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        """Record a run that only the main process saw end."""
        try:
            super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)
        finally:
            if self.passage is not None and self.passage.token:
                self.recorder.failed(self, self.passage, exc_info)
            elif (part := read_part(self.request_dict)) is not None:
                self.recorder.succession.failed(part, exc_info.exception)


def as_signal(signum: Any) -> Any:
    """Return *signum* (a signal, its number, or that as text, negative for an exit code) as a signal if it is one."""
    try:
        return Signals(abs(int(signum)))
    except (TypeError, ValueError):
        return signum


class Guard:
    """Gives the tasks of one app their guarded Request classes, one for each class that they bring."""

    def __init__(self, gate: Gate, recorder: Recorder) -> None:
        self.gate = gate
        self.recorder = recorder
        self._classes: dict[Any, Any] = {}

    def over(self, base: Any) -> Any:
        """Return the guarded class over *base*, the same one each time."""
        base = getattr(base, "unguarded", base)
        if base not in self._classes:
            fields = {"gate": self.gate, "recorder": self.recorder, "unguarded": base, "__module__": __name__}
            self._classes[base] = type(f"Guarded{base.__name__}", (GuardedRequest, base), fields)
        return self._classes[base]

    def apply(self, tasks: Any) -> None:
        """Set it on each of *tasks*: on the app's own task objects, so that no other app's are touched."""
        for task in list(tasks.values()):
            task.Request = self.over(symbol_by_name(task.Request))
