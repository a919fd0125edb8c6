"""An app with celery-singleton: a task that is still queued or at work is not queued again."""

import time

from celery_singleton import Singleton

from tests.neighbours.apps import base

app, legion = base.make(singleton_backend_url=base.env["NEIGHBOUR_REDIS"])
base.add_jobs(app, legion)


@app.task(name="single", base=Singleton, lock_expiry=60)
def single() -> None:
    base.seen("single")
    time.sleep(2.5)


# Only the singleton's own lock is between its runs.
legion.task(single).every("1s").name("single").allow_overlapping()
