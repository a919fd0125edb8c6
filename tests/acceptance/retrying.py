"""An app with one job whose first run is retried, on whatever broker the environment says."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from celery import Celery

from celery_legion import Legion, current_run

env = os.environ
app = Celery("retrying", broker=env["LEGION_TEST_BROKER"])
app.conf.update(
    legion_store_url=env["LEGION_TEST_STORE"],
    legion_run_lease=float(env["LEGION_TEST_RUN_LEASE"]),
    legion_store_timeout=1.0,
    broker_transport_options=json.loads(env["LEGION_TEST_TRANSPORT"]),
    broker_connection_retry_on_startup=True,
)
legion = Legion(app)
legion.task("flaky").every("1s").name("flaky")


def note(event: str) -> None:
    run = current_run()
    assert run is not None
    line = {"event": event, "job": run.job, "id": run.id, "attempt": run.attempt, "pid": os.getpid(), "at": time.time()}
    with open(env["LEGION_TEST_LEDGER"], "a", encoding="utf-8") as ledger:
        ledger.write(json.dumps(line) + "\n")


@app.task(name="flaky", bind=True)
def flaky(self: Any) -> None:
    note("start")
    note("end")
    first = Path(env["LEGION_TEST_LEDGER"] + ".retried")
    if not first.exists():
        first.touch()
        raise self.retry(countdown=float(env["LEGION_TEST_COUNTDOWN"]))
