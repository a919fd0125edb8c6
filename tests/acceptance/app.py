"""The app under test: jobs of every kind, whose tasks write to a ledger that nothing of ours touches."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from celery import Celery

from celery_legion import Legion, current_run, scheduled
from tests.acceptance.names import LONG_NAME

env = os.environ
NAME = env.get("LEGION_TEST_NAME", "acceptance")
app = Celery(NAME, broker=env["LEGION_TEST_BROKER"], backend=env.get("LEGION_TEST_RESULTS") or None)
app.conf.update(
    legion_store_url=env["LEGION_TEST_STORE"],
    legion_leader_lease=float(env.get("LEGION_TEST_LEASE", "5")),
    legion_run_lease=float(env.get("LEGION_TEST_RUN_LEASE", "6")),
    legion_store_timeout=1.0,
    legion_broker_timeout=2.0,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    result_expires=None,
    worker_cancel_long_running_tasks_on_connection_loss=False,
)
if "LEGION_TEST_MASTER" in env:
    app.conf.broker_transport_options = {"master_name": env["LEGION_TEST_MASTER"]}
legion = Legion(app)


def note(event: str, job: str, **fields: Any) -> None:
    """Append one line to the ledger file; a short append is atomic."""
    line = json.dumps({"event": event, "job": job, "pid": os.getpid(), "at": time.time(), **fields})
    descriptor = os.open(env["LEGION_TEST_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode() + b"\n")
    finally:
        os.close(descriptor)


def record(job: str, seconds: float = 0.0) -> None:
    run = current_run()
    known = {} if run is None else {"id": run.id, "attempt": run.attempt, "fire": run.fire_time.timestamp()}
    note("start", job, **known)
    time.sleep(seconds)
    note("end", job, **known)


JOBS = env.get("LEGION_TEST_JOBS", "")

if "slow" in JOBS:

    @scheduled("* * * * * */2", name="slow")
    def slow() -> None:
        record("slow", 5.0)


if "long" in JOBS:

    @scheduled("* * * * * */2", name="long")
    def long() -> None:
        record("long", 22.0)


if "tick" in JOBS:

    @scheduled.every_second(name="tick")
    def tick() -> None:
        record("tick")


if "spread" in JOBS:
    # One job for each second of the minute, so that one falls due each second and none is in another's way.
    for second in range(60):
        legion.task("entry", args=[f"spread-{second}"]).cron(f"* * * * * {second}").name(f"spread-{second}")


if "delayed" in JOBS:
    # Of a topic exchange: messages with a countdown go through RabbitMQ's own queues of delays.
    app.conf.update(task_default_queue_type="quorum", task_default_exchange_type="topic")
    legion.task("entry", args=["delayed"]).cron("* * * * * */20").options(countdown=15).name("delayed")
    legion.task("entry", args=["hardly"]).cron("* * * * * */20").options(countdown=0.5).name("hardly")

if "minutely" in JOBS:
    legion.task("entry", args=["minutely"]).every_minute().name("minutely")


@app.task(name="entry")
def entry(word: str) -> None:
    record(word)


@app.task(name="periodic")
def periodic() -> None:
    record("periodic")


def fluent() -> None:
    record("fluent")


if "kinds" in JOBS:

    @scheduled.every_second(name="decorated", tags=["a", "b"])
    def decorated() -> None:
        record("decorated")

    legion.call(fluent).every("1s").name("fluent").queue("celery")
    app.conf.beat_schedule = {"entry": {"task": "entry", "schedule": 1.0, "args": ("entry",)}}

    @app.on_after_finalize.connect
    def add_periodic(sender: Any, **_: Any) -> None:
        sender.add_periodic_task(1.0, periodic.s(), name="periodic")

    legion.call(fluent).daily_at("02:00").timezone("Europe/Berlin").name("nightly").description("at night")
    legion.task("entry", args=["wide"]).every("1s").name(LONG_NAME).tags("a-tag-of-some-length", "and-another-one")

if "hooked" in JOBS:
    overlapped = legion.task("slow-entry").every_second().name("overlapped")
    overlapped.on_skipped(lambda run: note("skipped", run.job, reason=run.reason, count=run.count))
    overlapped.after(lambda run: note("after", run.job, id=run.id, state=run.state))
    legion.command("echo to $LEGION_JOB; exit 4").every_second().name("failing").on_failure(
        lambda run: note("failed", run.job, id=run.id, code=run.exit_code, output=run.output)
    )

    @legion.after
    def everything(run: Any) -> None:
        note("everything", run.job, id=run.id, state=run.state)


@app.task(name="slow-entry")
def slow_entry() -> None:
    record("overlapped", 3.5)
