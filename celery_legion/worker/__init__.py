"""The worker's side: ask before a run begins, record how it ended, keep its lease alive in between."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery_legion import command, hook
from celery_legion.context import Context
from celery_legion.errors import CommandError
from celery_legion.worker.commands import Commands
from celery_legion.worker.current import CurrentRun, current_request, current_run
from celery_legion.worker.recorder import Recorder

__all__ = ["CurrentRun", "current_run", "install"]

STEP = "celery_legion.worker.step:WorkerStep"
"""The consumer's bootstep, by name: only a worker imports it, and with it Celery's worker."""

ATTRIBUTE = "legion_recorder"


def install(context: Context) -> None:
    """Make the workers of the context's app guard and record legion's runs; may be called again.

    Starts and opens nothing: what a worker needs begins with its consumer.
    """
    app = context.app
    if getattr(app, ATTRIBUTE, None) is not None:
        return
    recorder = Recorder(context)
    # Celery holds the receivers weakly; the app keeps them alive.
    setattr(app, ATTRIBUTE, recorder)
    recorder.connect()
    _add_tasks(context, recorder)
    app.steps["consumer"].add(STEP)


def _add_tasks(context: Context, recorder: Recorder) -> None:
    """Make the tasks of ours known to the app: schedulers send them by name, workers execute them."""
    commands = Commands(context)

    def run_command(self: Any, *args: Any, **kwargs: Any) -> int:
        return commands.execute(current_request(self.request), args, kwargs, recorder.backlog)

    def run_hooks(debt: str, job: str | None = None) -> bool:
        return recorder.hooks.pay(debt, job)

    # Ours are JSON, whatever the app's own messages are.
    add = partial(context.app.task, shared=False, serializer="json")
    add(name=command.TASK, bind=True, throws=(CommandError,))(run_command)
    add(name=hook.TASK, ignore_result=True, acks_late=False)(run_hooks)
