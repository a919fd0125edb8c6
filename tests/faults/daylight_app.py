"""The app of the daylight scenario: what ``DAYLIGHT`` says in JSON, with nobody who works."""

from __future__ import annotations

import json
import os

from celery import Celery
from celery.schedules import crontab

from celery_legion import Legion

told = json.loads(os.environ["DAYLIGHT"])

app = Celery("daylight", broker=told["broker"])
app.conf.update(
    timezone=told["zone"],
    task_ignore_result=True,
    beat_schedule={
        name: {"task": name, "schedule": crontab(minute=minute, hour=hour)}
        for name, (minute, hour) in told["jobs"].items()
    },
)
if told["legion"]:
    # Nobody works here, and the clock is set ahead by minutes: neither an overlap nor a new leader is the matter.
    app.conf.update(legion_overlap="allow", legion_leader_lease=7200.0, legion_lock_ttl=86400.0)
    legion = Legion(app)
