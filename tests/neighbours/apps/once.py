"""An app with celery-once: one task raises when it is queued already, one says nothing."""

import time

from celery_once import QueueOnce

from tests.neighbours.apps import base

app, legion = base.make(
    ONCE={
        "backend": "celery_once.backends.Redis",
        "settings": {"url": base.env["NEIGHBOUR_REDIS"], "default_timeout": 60},
    }
)
base.add_jobs(app, legion)


@app.task(name="strict", base=QueueOnce)
def strict() -> None:
    base.seen("strict")
    time.sleep(2.5)


@app.task(name="graceful", base=QueueOnce, once={"graceful": True})
def graceful() -> None:
    base.seen("graceful")
    time.sleep(2.5)


# Only the neighbour's own lock is between their runs.
legion.task(strict).every("1s").name("strict").allow_overlapping()
legion.task(graceful).every("1s").name("graceful").allow_overlapping()
