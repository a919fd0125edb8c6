"""A worker with the tasks of the app under test that does not know legion: older code, or another program."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from celery import Celery

app = Celery("acceptance", broker=os.environ["LEGION_TEST_BROKER"])
app.conf.update(broker_connection_retry_on_startup=True, task_ignore_result=True)


@app.task(name="tests.acceptance.app.tick", bind=True)
def tick(self: Any) -> None:
    line = json.dumps({"event": "start", "job": "tick", "at": time.time(), "id": self.request.id, "stranger": True})
    with open(os.environ["LEGION_TEST_LEDGER"], "a") as ledger:
        ledger.write(line + "\n")
