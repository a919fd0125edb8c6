"""The app under the nemesis: the workload's jobs, all guarded, whose tasks write down what they do."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from celery import Celery

from celery_legion import Legion, current_run
from tests.nemesis.notebook import TASKS, Notebook
from tests.nemesis.workload import JOBS, Grid

app = Celery("nemesis", broker=os.environ["NEMESIS_BROKER"])
app.conf.update(
    legion_store_url=os.environ["NEMESIS_STORE"],
    legion_key_prefix="nemesis",
    legion_leader_lease=float(os.environ["NEMESIS_LEASE"]),
    legion_run_lease=3,
    legion_store_timeout=0.9,
    legion_broker_timeout=0.9,
    legion_ledger_size=10_000,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
)
legion = Legion(app)
tasks = Notebook(Path(os.environ["NEMESIS_FOLDER"]) / TASKS)


@app.task(bind=True, name="nemesis.work")
def work(self: Any, job: str, seconds: float) -> None:
    run = current_run()
    known = {
        "job": job,
        "id": self.request.id,
        "attempt": 0 if run is None else run.attempt,
        "token": 0 if run is None else run.token,
        "fire": 0 if run is None else round(run.fire_time.timestamp() * 1000),
    }
    tasks.write("start", **known)
    time.sleep(seconds)
    tasks.write("end", **known)


for job in JOBS:
    builder = legion.task("nemesis.work", args=[job.name, job.work]).name(job.name)
    if job.grid is Grid.CLOCK:
        {1000: builder.every_second, 2000: builder.every_two_seconds}[job.period]()
    else:
        anchor = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(milliseconds=job.phase)
        span = timedelta(milliseconds=job.period)
        builder.every(span, anchor=anchor if job.grid is Grid.PHASE else None)
    if job.each:
        builder.allow_overlapping().catch_up("all")
