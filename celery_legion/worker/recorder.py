"""Celery's signals and callbacks into ends and parkings of runs, each written by the process that knows best."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from billiard.einfo import ExceptionWithTraceback
from celery import signals
from celery.exceptions import (
    Ignore,
    Reject,
    Retry,
    Terminated,
    TimeLimitExceeded,
    WorkerLostError,
)
from celery.worker import state as worker_state

from celery_legion import command
from celery_legion.context import Context
from celery_legion.errors import StoreError
from celery_legion.run import Kind, Reason, State
from celery_legion.stores.base import Outcome, debt_id
from celery_legion.worker.acts import Act, End, Leave, Park, describe
from celery_legion.worker.backlog import Home
from celery_legion.worker.begun import BegunRuns
from celery_legion.worker.capture import Capture
from celery_legion.worker.commands import EXIT_CODE, OUTPUT, PID
from celery_legion.worker.current import (
    CurrentRun,
    Execution,
    current_run,
    raw_header,
    read_run,
    read_token,
    retries_of,
)
from celery_legion.worker.hooks import HookRunner
from celery_legion.worker.keyspace import end_elsewhere
from celery_legion.worker.progress import Progress
from celery_legion.worker.succession import Succession, read_part
from celery_legion.worker.verdicts import failure, is_own_exit, retry_number, returns_when_lost, was_replaced

logger = logging.getLogger(__name__)

DYING = timedelta(seconds=5)
"""How long a lock outlives an end that the main process records before the run's process is dead."""

SECOND_THOUGHTS = timedelta(seconds=1)
"""How long an end without a verdict waits for the verdict of whoever caused it."""

NO_TIME = timedelta(0)

SETTLED, FAILED, STARTED = "legion_settled", "legion_failed", "legion_started_at"
CAPTURE, PROGRESS, EXECUTION = "legion_capture", "legion_progress", "legion_execution"
HOOK_ERROR, GRACE, LINGERS = "legion_hook_error", "legion_grace", "legion_lingers"
"""Marks on a task's request context, which Celery makes once per execution in each process."""


class Recorder:
    """Writes how runs end. Nothing of it raises into Celery, and nothing of it talks to the store in the main loop.

    A pool process (or thread) writes its own ends at once, before Celery acknowledges late. What it cannot deliver,
    and all that the main process sees, goes to the *backlog*. That an end is written twice is harmless: the first wins.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.hooks = HookRunner(context, self._keep)
        self.succession = Succession(context, self._write, self._is_apart)
        self.backlog: Home | None = None
        self.begun: BegunRuns | None = None

    def connect(self) -> None:
        """Connect Celery's signals; weakly, so that it lives as long as its app."""
        signals.task_prerun.connect(self.on_prerun)
        signals.task_postrun.connect(self.on_postrun)
        signals.task_retry.connect(self.on_retry)
        signals.task_failure.connect(self.on_task_failure)
        signals.task_revoked.connect(self.on_revoked)
        signals.task_unknown.connect(self.on_unknown)
        self.succession.connect()

    # Where the task is executed

    def on_prerun(self, task: Any, **_: Any) -> None:
        """Remember when the run's code really started, and call what is to be called before."""
        run = read_run(task.request) if self._ours(task) else None
        if run is None:
            return
        self.context.serve(run.prefix or self.context.config.key_prefix)
        setattr(task.request, STARTED, self.context.clock.now())
        setattr(task.request, EXECUTION, Execution.begin(run, task.request))
        if self.begun is not None and self.backlog is not None and self.backlog.here:
            self.begun.execute(run.id)
        setattr(task.request, HOOK_ERROR, self.hooks.before(run))
        job = self.context.registry.find(run.job)
        # Who runs a job by hand wants to see what it says.
        captured = run.kind is Kind.MANUAL or (job is not None and job.policy.capture_output)
        if captured and task.name != command.TASK:
            capture = Capture(self.context.config.output_limit)
            progress = Progress(self.context, run, capture.tail)
            capture.on_news = progress.note
            setattr(task.request, CAPTURE, capture)
            setattr(task.request, PROGRESS, progress)

    def on_postrun(self, task: Any, state: str | None, retval: Any, **_: Any) -> None:
        """Record how the attempt ended, when nothing of it is executed any more."""
        run = read_run(task.request) if self._ours(task) else None
        if run is None:
            return
        capture = getattr(task.request, CAPTURE, None)
        if capture is not None:
            getattr(task.request, PROGRESS).close()
            setattr(task.request, OUTPUT, capture.close())
        try:
            self._record(run, task, state, retval)
        finally:
            if self.begun is not None and self.begun.lingers(run.id):
                self.begun.drop(run.id, run.token)
            execution = getattr(task.request, EXECUTION, None)
            if execution is not None:
                execution.end()

    def _record(self, run: CurrentRun, task: Any, state: str | None, retval: Any) -> None:
        broken_off = sys.exc_info()[1]
        if broken_off is not None and not isinstance(broken_off, Exception):
            # Then Celery's state is none of this execution: it may have looked up what was stored before.
            state = None
        match state:
            case "SUCCESS" | "IGNORED" if self.succession.hand_down(run, task.request):
                # What it is replaced by goes on with it.
                pass
            case "SUCCESS":
                self._end(run, task.request, State.SUCCEEDED)
            case "FAILURE":
                self._end(run, task.request, *failure(retval), retval)
            case "IGNORED":
                reason = Reason.REPLACED if was_replaced(retval) else Reason.IGNORED
                self._end(run, task.request, State.SUCCEEDED, reason)
            case "REJECTED":
                if getattr(retval, "requeue", False) and task.acks_late:
                    self._write(Park(run.id, run.token, self.context.clock.now(), retry_number(task.request)))
                else:
                    self._end(run, task.request, State.FAILED, Reason.REJECTED, retval)
            case None:
                self._broken_off(run, task, broken_off)

    def _broken_off(self, run: CurrentRun, task: Any, error: BaseException | None) -> None:
        """An exit or a kill goes through the task. In a pool process the main process judges it by what it sees.

        An exit of the task's own is told here, unless its message is delivered again when its process is gone. In a
        pool of threads nobody else may judge: then the run has failed, unless whoever killed it says otherwise at once.
        """
        request = task.request
        if self.backlog is None or not self.backlog.here:
            if is_own_exit(error) and not returns_when_lost(task):
                self._end(run, request, State.FAILED, None, error)
                return
            exit_code, output = getattr(request, EXIT_CODE, None), getattr(request, OUTPUT, None)
            self._write(Leave(run.id, run.token, exit_code, output))
            return
        outcome = self._outcome(request, *self._verdict_here(run), error)
        if self.begun is not None:
            self.begun.drop(run.id, run.token)
        self.backlog.put(End(run.id, run.token, outcome), after=SECOND_THOUGHTS)

    def _verdict_here(self, run: CurrentRun) -> tuple[State, Reason | None]:
        if self.begun is not None and self.begun.lingers(run.id):
            return State.INTERRUPTED, Reason.TERMINATED
        if worker_state.should_terminate is not None and worker_state.should_terminate is not False:
            return State.INTERRUPTED, Reason.SHUTDOWN
        return State.FAILED, None

    def on_retry(self, sender: Any, request: Any, reason: Any = None, einfo: Any = None, **_: Any) -> None:
        """Park the run until its retry. Without *einfo* it is no retry: a closing worker cancelled the task."""
        run = read_run(request) if self._ours(sender) else None
        if run is None:
            return
        setattr(request, SETTLED, True)
        now, retries = self.context.clock.now(), retry_number(request)
        if einfo is not None:
            self._write(Park(run.id, run.token, self._moment(getattr(reason, "when", None), now), retries + 1))
        elif sender.acks_late:
            # Its message was not acknowledged, so it is delivered again.
            self._write(Park(run.id, run.token, now, retries))
        else:
            # What it executes may have been asked politely, and take a grace until it is killed.
            outcome = self._outcome(request, State.INTERRUPTED, Reason.SHUTDOWN, dying=2 * DYING)
            self._write(End(run.id, run.token, outcome))

    # In the main process

    def on_revoked(self, sender: Any, request: Any, terminated: bool, expired: bool, **_: Any) -> None:
        """Record a run that was revoked or expired before its start, or terminated."""
        raw = raw_header(vars(request)) if self._ours(sender) else None
        if raw is None:
            part = read_part(vars(request)) if self._ours(sender) else None
            if part is not None:
                self.succession.revoke(part)
            return
        setattr(request, SETTLED, True)
        if terminated and getattr(request, LINGERS, False):
            # It is only told so: where its code ends, that is recorded, and its lock is kept until then.
            return
        if terminated:
            grace = getattr(request, GRACE, NO_TIME)
            outcome = self._outcome(request, State.INTERRUPTED, Reason.TERMINATED, dying=grace + DYING)
        elif expired:
            outcome = self._outcome(request, State.EXPIRED, Reason.EXPIRES)
        else:
            outcome = self._outcome(request, State.INTERRUPTED, Reason.REVOKED)
        # A run that waits for its retry still has its last attempt's token, and the retry's message carries it.
        self._write(End(request.id, read_token(raw), outcome))

    def on_unknown(self, sender: Any, message: Any, name: str, id: str, **_: Any) -> None:
        """Record a run whose task this worker does not know: Celery has dropped its message."""
        raw = raw_header(message.headers)
        if sender.app is not self.context.app or raw is None:
            return
        error = f"worker {sender.hostname} does not know task {name!r}; let it import the module, or correct the name"
        ended = self.context.clock.now()
        outcome = Outcome(state=State.FAILED, reason=Reason.UNKNOWN_TASK, ended_at=ended, error=error)
        if not end_elsewhere(self.context, id, raw, outcome):
            self._write(End(id, 0, outcome))

    def on_task_failure(self, sender: Any, task_id: str, **_: Any) -> None:
        """Mark a context of the main process whose task Celery has recorded as failed."""
        request = sender.request if self._ours(sender) else None
        if request is not None and request.id == task_id and raw_header(vars(request)) is not None:
            setattr(request, FAILED, True)

    def timed_out(self, request: Any, passage: Any, timeout: float) -> None:
        """Record a hard time limit; the process is being killed."""
        if passage.requeued:
            # Delivered again although the process may still live: that attempt waits until the lease is over.
            return
        outcome = Outcome(
            state=State.FAILED,
            reason=Reason.TIME_LIMIT,
            ended_at=self.context.clock.now(),
            pid=request.process,
            error=f"the hard time limit of {timeout:g} s was exceeded",
            dying=DYING,
        )
        self._write(End(request.id, passage.token, outcome))

    def failed(self, request: Any, passage: Any, exc_info: Any) -> None:
        """Record what Celery's callback for failures knows: of a run whose process is lost, nobody else does."""
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        context = request._context
        if isinstance(error, Retry | Ignore | Reject | Terminated) or getattr(context, SETTLED, False):
            return
        if request._already_revoked or request._already_cancelled:
            return
        if isinstance(error, TimeLimitExceeded):
            self.timed_out(request, passage, error.args[0])
            return
        lost = isinstance(error, WorkerLostError | SystemExit | KeyboardInterrupt)
        if passage.requeued:
            if lost:
                now = self.context.clock.now()
                retries = retries_of(raw_header(request.request_dict), request.request_dict.get("retries"))
                self._write(Park(request.id, passage.token, now, retries))
            return
        # If Celery did not call it a failure, it has found a stored success: the process was lost after the end.
        # Celery looks for one since 5.7; before, every lost process is a failure.
        looks = hasattr(request, "_success_was_stored")
        succeeded = lost and looks and not getattr(context, FAILED, False)
        outcome = Outcome(
            state=State.SUCCEEDED if succeeded else State.FAILED,
            reason=Reason.PROCESS_LOST if lost and not succeeded else None,
            ended_at=self.context.clock.now(),
            pid=request.process,
            error=None if succeeded else describe(error),
            # Its process is dead, a command's shim may still be killing.
            dying=DYING if lost and request.task.name == command.TASK else NO_TIME,
        )
        self._write(End(request.id, passage.token, outcome))

    # Writing

    def _end(
        self, run: CurrentRun, request: Any, state: State, reason: Reason | None = None, error: Any = None
    ) -> None:
        """Record an end where the run was executed, and call its hooks here."""
        outcome = self._outcome(request, state, reason, error)
        if not self.hooks.of(run.job, state):
            self._write(End(run.id, run.token, outcome))
            return
        asker = uuid4().hex
        outcome = replace(outcome, hooks_by=asker, hooks_lease=self.context.config.run_lease)
        if self._write(End(run.id, run.token, outcome)):
            ending = replace(
                run,
                state=state,
                reason=None if reason is None else reason.value,
                exit_code=outcome.exit_code,
                error=outcome.error,
                output=outcome.output,
                last_fire_time=run.fire_time,
                started_at=outcome.started_at,
                ended_at=outcome.ended_at,
            )
            self.hooks.ended(ending, debt_id(run.id, run.token), asker)

    def _outcome(
        self,
        request: Any,
        state: State,
        reason: Reason | None = None,
        error: BaseException | None = None,
        dying: timedelta = timedelta(0),
    ) -> Outcome:
        started = getattr(request, STARTED, None)
        return Outcome(
            state=state,
            reason=reason,
            started_at=started,
            ended_at=self.context.clock.now(),
            pid=None if started is None else getattr(request, PID, os.getpid()),
            exit_code=getattr(request, EXIT_CODE, None),
            error=None if error is None else describe(error),
            output=getattr(request, OUTPUT, None),
            hook_error=getattr(request, HOOK_ERROR, None),
            dying=dying,
        )

    def _write(self, act: Act) -> bool:
        """Write *act* here or let the main process do so; True if it was written here and has changed something."""
        backlog = self.backlog
        if backlog is not None and backlog.here and not self._executes(act.run_id):
            backlog.put(act)
            return False
        try:
            return act.apply(self.context.store, self.context.store_options.retention)
        except StoreError as exc:
            problem: BaseException = exc
        except Exception as exc:
            # The task has ended as it has; what goes wrong here must not change that.
            problem = exc
            logger.exception("The end of run %s could not be written", act.run_id)
        except BaseException:
            # This process, or greenlet, is being ended in the middle of it.
            self._keep_for_anyone(act)
            raise
        if not self._keep_for_anyone(act):
            logger.error("The end of run %s is not recorded; its lease will run out: %s", act.run_id, problem)
        return False

    def _keep_for_anyone(self, act: Act) -> bool:
        if isinstance(act, End):
            # Written by another process, and later: the hooks are anyone's then.
            act = replace(act, outcome=replace(act.outcome, hooks_by=None, hooks_lease=NO_TIME))
        return self._keep(act)

    def _keep(self, act: Act) -> bool:
        """Let the main process write *act* when the store answers again; False if it cannot be told."""
        backlog = self.backlog
        if backlog is not None and backlog.here:
            backlog.put(act)
            return True
        return backlog is not None and backlog.hand_over(act)

    def _is_apart(self) -> bool:
        """Whether this is a process of the worker's pool, and not the worker's own."""
        return self.backlog is not None and not self.backlog.here

    def _executes(self, run_id: str) -> bool:
        """Whether this very thread executes the run, as a pool without processes of its own does."""
        run = current_run()
        return run is not None and run.id == run_id

    def _moment(self, when: Any, now: datetime) -> datetime:
        """Return Celery's *when* of a retry (seconds from now, a moment, or None for at once) as an aware moment."""
        if isinstance(when, str):
            try:
                when = datetime.fromisoformat(when)
            except ValueError:
                return now
        if isinstance(when, datetime):
            return (when if when.tzinfo else when.replace(tzinfo=self.context.app.timezone)).astimezone(UTC)
        return now + timedelta(seconds=when) if isinstance(when, int | float) else now

    def _ours(self, task: Any) -> bool:
        return getattr(task, "app", None) is self.context.app
