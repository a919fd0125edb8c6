"""An app with django-structlog's receivers, and a long job to be interrupted."""

import time

from django_structlog.celery.steps import DjangoStructLogInitStep

from tests.neighbours.apps import base

app, legion = base.make()
app.steps["worker"].add(DjangoStructLogInitStep)
base.add_jobs(app, legion)


@app.task(name="long")
def long() -> None:
    base.seen("long")
    time.sleep(60)


legion.task("long").daily_at("02:00").name("long")
