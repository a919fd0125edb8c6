"""Saves two entries of RedBeat's own in Redis."""

from celery.schedules import schedule
from redbeat import RedBeatSchedulerEntry

from tests.neighbours.apps.redbeat_beside import app

for name in ("left-one", "left-two"):
    RedBeatSchedulerEntry(name, "tick", schedule(3600.0), app=app).save()
