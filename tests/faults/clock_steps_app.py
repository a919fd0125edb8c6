"""The app of the clock steps: jobs on each second, whose runs are written down in a list on the broker."""

from __future__ import annotations

import json
import os
import time

import redis
from celery import Celery

from celery_legion import Legion, current_run

told = json.loads(os.environ["CLOCK_STEPS"])

app = Celery("steps", broker=told["broker"])
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    legion_store_url=told["store"],
    legion_broker_timeout=1.0,
    legion_store_timeout=1.0,
    legion_leader_lease=3.0,
    legion_run_lease=6.0,
    legion_catch_up="all",
)
legion = Legion(app)
ledger = redis.Redis.from_url(told["broker"])


@app.task(name="steps.note")
def note(seconds: float) -> None:
    """Write down which run this is, and when it began and ended by clocks that nobody sets."""
    run = current_run()
    assert run is not None
    began = time.time()
    time.sleep(seconds)
    row = {"job": run.job, "fire": run.fire_time.timestamp(), "token": run.token, "began": began, "ended": time.time()}
    ledger.rpush("ledger", json.dumps(row))


for name, period, seconds in told["jobs"]:
    builder = legion.task("steps.note", args=[seconds]).name(name).cron(f"* * * * * */{period}")
    if not seconds:
        builder.allow_overlapping()
