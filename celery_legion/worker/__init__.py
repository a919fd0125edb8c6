"""The worker's side: ask before a run begins, record how it ended, keep its lease alive in between."""

from __future__ import annotations

from celery_legion.context import Context
from celery_legion.worker.current import CurrentRun, current_run
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
    app.steps["consumer"].add(STEP)
