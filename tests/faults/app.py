"""The app under the faults: a workload's jobs, whose tasks write down what they do.

The same tasks for every scheduler: as legion's jobs, or as entries of ``beat_schedule`` for RedBeat and for beat.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from celery import Celery

from tests.faults import chore
from tests.faults.workload import WORKLOADS, Grid, Planned

folder = Path(os.environ["FAULTS_FOLDER"])
told: dict[str, Any] = json.loads(os.environ["FAULTS_APP"])
jobs = WORKLOADS[told["workload"]]
watched = told["scheduler"] == "legion"
overlapping = {job.name for job in jobs if job.each}

app = Celery("faults", broker=os.environ["FAULTS_BROKER"])
app.conf.update(
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    worker_cancel_long_running_tasks_on_connection_loss=False,
)


def work(self: Any, job: str, seconds: float) -> None:
    token, attempt, fire = 0, 0, 0
    if watched:
        from celery_legion import current_run

        run = current_run()
        if run is not None:
            token, attempt, fire = run.token or 0, run.attempt, round(run.fire_time.timestamp() * 1000)
    known = {"job": job, "id": self.request.id, "attempt": attempt, "token": token, "fire": fire}
    chore.do(folder, known, seconds, guarded=job not in overlapping)


app.task(bind=True, name="faults.work")(work)
app.task(bind=True, name="faults.work_late", acks_late=True)(work)


def command_of(job: Planned) -> list[str]:
    return [sys.executable, "-S", chore.__file__, str(folder), job.name, str(job.work)]


def declare(legion: Any, job: Planned) -> None:
    if job.command:
        builder = legion.command(shlex.join(command_of(job))).name(job.name)
    else:
        task = "faults.work_late" if job.late else "faults.work"
        builder = legion.task(task, args=[job.name, job.work]).name(job.name)
    if job.grid is Grid.CLOCK:
        {
            1000: builder.every_second,
            2000: builder.every_two_seconds,
            5000: builder.every_five_seconds,
            10_000: builder.every_ten_seconds,
            30_000: builder.every_thirty_seconds,
            60_000: builder.every_minute,
        }[job.period]()
    else:
        anchor = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(milliseconds=job.phase)
        span = timedelta(milliseconds=job.period)
        builder.every(span, anchor=anchor if job.grid is Grid.PHASE else None)
    if job.each:
        builder.allow_overlapping()
    if catch_up := job.catch_up or ("all" if job.each else None):
        builder.catch_up(catch_up)


if watched:
    from celery_legion import Legion

    app.conf.update(
        legion_store_url=os.environ["FAULTS_STORE"],
        legion_key_prefix="faults",
        legion_ledger_size=100_000,
        legion_ledger_total=2_000_000,
    )
    app.conf.update(told["settings"])
    legion = Legion(app)
    for one in jobs:
        declare(legion, one)
    if told["workload"] == "broken":
        from tests.faults import broken

        broken.declare(legion, app, rabbitmq=os.environ["FAULTS_BROKER"].startswith("amqp"))
else:
    from redbeat.schedules import rrule

    from tests.faults.grid import OnGrid

    minute = datetime.fromtimestamp(time.time() // 60 * 60 - 60, UTC)
    app.conf.update(
        redbeat_redis_url=os.environ["FAULTS_STORE"],
        redbeat_key_prefix="faults:",
        beat_schedule_filename=str(folder / "beat-schedule"),
        beat_schedule={
            one.name: {
                "task": "faults.work",
                # The only one of RedBeat's schedules that is finer than a minute and keeps to the clock. It counts
                # from its start at every question, hence a late one. Beat cannot keep it in its file.
                "schedule": rrule("SECONDLY", dtstart=minute, interval=one.period // 1000)
                if told["scheduler"] == "redbeat"
                else OnGrid(one.period // 1000),
                "args": [one.name, one.work],
            }
            for one in jobs
        },
    )
    app.conf.update(told["settings"])
