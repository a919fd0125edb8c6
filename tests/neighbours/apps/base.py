"""What all apps have: settings from the environment, a ledger of their own, and jobs that show what is promised."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from celery import Celery

from celery_legion import Legion, current_run

env = os.environ

NAME = "neighbours"


def configure(app: Celery, **settings: Any) -> Legion:
    """Set up *app* for a visit."""
    app.conf.update(
        broker_url=env["NEIGHBOUR_BROKER"] or None,
        result_backend=env["NEIGHBOUR_RESULTS"] or None,
        legion_store_url=env["NEIGHBOUR_STORE"] or None,
        legion_key_prefix=env["NEIGHBOUR_PREFIX"],
        legion_run_lease=8.0,
        broker_connection_retry_on_startup=True,
        task_default_queue="neighbours",
    )
    app.conf.update(settings)
    return Legion(app)


def make(**settings: Any) -> tuple[Celery, Legion]:
    """Return a plain app for a visit, and its schedule."""
    app = Celery(NAME)
    return app, configure(app, **settings)


def note(event: str, job: str, **fields: Any) -> None:
    """Append one line to the ledger file; a short append is atomic."""
    line = json.dumps({"event": event, "job": job, "pid": os.getpid(), "at": time.time(), **fields})
    descriptor = os.open(env["NEIGHBOUR_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode() + b"\n")
    finally:
        os.close(descriptor)


def seen(job: str, **fields: Any) -> None:
    """Note an execution of *job*, with the run that the task says it belongs to."""
    run = current_run()
    known = {} if run is None else {"id": run.id, "fire": run.fire_time.timestamp()}
    note("start", job, **known, **fields)


def add_jobs(app: Celery, legion: Legion) -> None:
    """Put the jobs of every visit on the schedule: a tick, one that is retried, and a command."""

    @app.task(name="tick")
    def tick() -> None:
        seen("tick")

    @app.task(name="again", bind=True, max_retries=3)
    def again(self: Any) -> None:
        seen("again", retries=self.request.retries)
        if not self.request.retries:
            raise self.retry(countdown=0.5)

    legion.task("tick").every("2s").name("tick")
    legion.task("again").every("4s").name("again")
    legion.command("echo neighbourly").every("2s").name("echo")
