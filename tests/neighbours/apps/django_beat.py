"""An app of a Django project that has django-celery-beat: its schedules as objects, and rows that nobody schedules."""

from celery.schedules import crontab
from django.utils import timezone
from django_celery_beat.clockedschedule import clocked
from django_celery_beat.tzcrontab import TzAwareCrontab

from tests.neighbours.apps import base

app, legion = base.make()
base.add_jobs(app, legion)


@app.task(name="once")
def once() -> None:
    base.seen("once")


app.conf.beat_schedule = {
    # Its moment has passed when the schedule is first read: Celery's beat sends it once, at its start.
    "once": {"task": "once", "schedule": clocked(timezone.now())},
    "zoned": {"task": "tick", "schedule": TzAwareCrontab(minute="0", hour="3", tz=timezone.get_default_timezone())},
    "plain": {"task": "tick", "schedule": crontab(minute="30", hour="4")},
}
