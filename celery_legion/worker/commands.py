"""Commands: what a message may have executed, and how its exit becomes the run's end."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from celery_legion.command import Command
from celery_legion.context import Context
from celery_legion.errors import (
    CommandError,
    CommandFailedError,
    CommandLostError,
    CommandRefusedError,
    CommandTimeoutError,
    RunInterruptedError,
    StoreError,
)
from celery_legion.job import ActionKind, Job
from celery_legion.worker.acts import Launch
from celery_legion.worker.backlog import Home
from celery_legion.worker.current import CurrentRun, current_run
from celery_legion.worker.output import Output
from celery_legion.worker.process import GRACE, CommandProcess, Exit
from celery_legion.worker.progress import Progress

LOGGER = "celery_legion.job"
"""Below this logger each job has one of its name for its output."""

EXIT_CODE, OUTPUT, PID = "legion_exit_code", "legion_output", "legion_pid"
"""What is left on a task's request for whoever records the run's end."""


def forgery(job: str | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Return how a message of the command task for a run of *job* is not what a schedule sends, None if it may be.

    The message says which job is meant, twice, and nothing else; what is executed is the registry's to say.
    """
    if job is None:
        return "the message belongs to no run that has begun"
    if len(args) != 1 or kwargs:
        return "the message says more than a job's name"
    if args[0] != job:
        return f"the message names another job than its run's, {str(args[0])[:100]!r}"
    return None


def unknown(context: Context, job: str) -> str | None:
    """Return why this worker's code has no command for a run of *job*, None if it has."""
    found = context.registry.find(job)
    if found is None:
        return "this worker knows no job of that name; deploy the schedule's code here, too"
    if found.action.kind is not ActionKind.COMMAND or found.action.command is None:
        return "to this worker the job is no command; deploy the schedule's code here, too"
    return None


def impossible(command: Command) -> str | None:
    """Return why this worker cannot execute *command* as it says, None if it can."""
    if command.user is None:
        return None
    import pwd

    try:
        user = pwd.getpwnam(command.user)
    except KeyError:
        return f"this machine has no user {command.user!r}"
    if os.geteuid() not in (0, user.pw_uid):
        return f"only a worker that is root may run it as user {command.user!r}; start one, or leave .user() out"
    return None


class Commands:
    """Executes the commands of an app's jobs."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def check(self, log: logging.Logger) -> None:
        """Log, at a worker's start, each command that it could not execute."""
        for job in self.context.registry.described().values():
            problem = None if job.action.command is None else impossible(job.action.command)
            if problem is not None:
                log.error("The command of job %r will fail on this worker: %s", job.name, problem)

    def execute(self, request: Any, args: Sequence[Any], kwargs: Mapping[str, Any], backlog: Home | None) -> int:
        """Execute the command of the current run's job; returns its exit code, 0.

        Raises:
            CommandRefusedError: The message is not what the schedule sends, or this worker cannot execute it.
            CommandFailedError: It exited with another code.
            CommandTimeoutError: It took longer than its timeout.
            RunInterruptedError: It was interrupted.
        """
        run = current_run()
        name = run.job if run is not None else str(args[0])[:100] if args else "?"
        job = self.context.registry.find(name)
        # Loggers are never forgotten: a message gets none by a name of its own choice.
        log = logging.getLogger(LOGGER if job is None else f"{LOGGER}.{name}")
        try:
            problem = forgery(None if run is None else run.job, args, kwargs) or unknown(self.context, name)
            if run is None or problem is not None or job is None or job.action.command is None:
                raise CommandRefusedError(name, problem or "it is gone")
            problem = impossible(job.action.command)
            if problem is not None:
                raise CommandRefusedError(name, problem)
            return self._execute(run, job, job.action.command, request, backlog, log)
        except CommandError as exc:
            # To Celery it is an expected error, and no more than an INFO.
            log.error("%s", exc)
            raise

    def _execute(
        self,
        run: CurrentRun,
        job: Job,
        command: Command,
        request: Any,
        backlog: Home | None,
        log: logging.Logger,
    ) -> int:
        output = Output(log, job.name, self.context.config.output_limit, command.values())
        progress = Progress(self.context, run, lambda: output.tail)

        def on_output(is_error: bool, data: bytes) -> None:
            output.feed(is_error, data)
            progress.note()

        process = CommandProcess(
            command,
            {**os.environ, **dict(command.env), **run.environment()},
            on_output=on_output,
            on_start=lambda shim, pid: self._launched(request, backlog, Launch(run.id, run.token, shim, pid)),
            on_asked=lambda: self._asked(run),
        )
        try:
            exit_ = process.run()
        finally:
            progress.close()
            # Also when the task is being killed: then another process records the end, and this only adds to it.
            setattr(request, EXIT_CODE, None if process.exit is None else process.exit.code)
            setattr(request, OUTPUT, output.close())
        if exit_.left:
            log.error("%d processes of the command of job %s could not be killed", exit_.left, job.name)
        return self._judge(exit_, job.name, command, getattr(request, OUTPUT) or "")

    def _launched(self, request: Any, backlog: Home | None, launch: Launch) -> None:
        setattr(request, PID, launch.pid)
        if backlog is not None:
            backlog.hand_over(launch)

    def _asked(self, run: CurrentRun) -> tuple[int, float]:
        try:
            asked = self.context.store.interruption(run.id)
        except StoreError:
            asked = None
        if asked is None or asked.refused is not None:
            return signal.SIGTERM, GRACE
        return asked.signal, asked.grace.total_seconds()

    def _judge(self, exit_: Exit, job: str, command: Command, output: str) -> int:
        if exit_.why == "timeout":
            raise CommandTimeoutError(job, f"{command.timeout.total_seconds():g} s" if command.timeout else "", output)
        if exit_.why == "stopped":
            raise RunInterruptedError(job, None, output)
        if exit_.code is None:
            raise CommandLostError(job, None, output)
        if exit_.code:
            raise CommandFailedError(job, exit_.code, output)
        return 0
