"""The app under measurement: one job that only pushes start, and one that is due every five seconds."""

from __future__ import annotations

import json
import os
from typing import Any

from celery import Celery

from benchmarks import SPACING
from celery_legion import Legion, current_run

env = os.environ
app = Celery("bench", broker=env.get("BENCH_BROKER", "redis://127.0.0.1:6379/0"))
app.conf.update(
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    legion_ledger_size=100_000,
)
legion = Legion(app)


@app.task(name="bench.nothing")
def nothing() -> None:
    """Do nothing."""


@app.task(name="bench.note", bind=True)
def note(self: Any) -> None:
    """Append this execution to a file that nothing of the package reads; a short append is atomic."""
    run = current_run()
    fire = run.fire_time.timestamp() if run is not None and run.fire_time is not None else None
    line = json.dumps({"id": self.request.id, "fire": fire})
    descriptor = os.open(env["BENCH_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode() + b"\n")
    finally:
        os.close(descriptor)


if env.get("BENCH_JOBS") == "paired":
    legion.task("bench.note").cron(f"* * * * * */{SPACING}").name("paired")
else:
    legion.task("bench.nothing").yearly().allow_overlapping().name("pushed")
