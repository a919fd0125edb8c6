"""An app as it ran under Celery's own beat: nothing of ours in it."""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta

from celery import Celery
from celery.schedules import crontab

app = Celery("plain", broker=os.environ["LEGION_TEST_BROKER"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    result_expires=None,
    beat_schedule={
        "number": {"task": "plain.record", "schedule": 1.0, "args": ("number",), "options": {"expires": 30}},
        "delta": {
            "task": "plain.record",
            "schedule": timedelta(seconds=2),
            "args": ("delta",),
            "options": {"priority": 3},
        },
        "slow": {"task": "plain.record", "schedule": 1.0, "args": ("slow",), "kwargs": {"seconds": 3}},
        "cron": {"task": "plain.record", "schedule": crontab(), "args": ("cron",), "options": {"queue": "other"}},
    },
)


@app.task(name="plain.record", bind=True)
def record(self, job: str, seconds: float = 0.0) -> None:
    info = self.request.delivery_info or {}
    known = {
        "id": self.request.id,
        "pid": os.getpid(),
        "queue": info.get("routing_key"),
        "priority": info.get("priority"),
        "expires": self.request.expires,
    }
    for event in ("start", "end"):
        line = json.dumps({"event": event, "job": job, "at": time.time(), **known})
        descriptor = os.open(os.environ["LEGION_TEST_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, line.encode() + b"\n")
        os.close(descriptor)
        if event == "start":
            time.sleep(seconds)
