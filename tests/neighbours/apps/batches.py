"""An app with celery-batches: a task that collects its messages, and executes them together."""

from celery_batches import Batches

from tests.neighbours.apps import base

app, legion = base.make(worker_prefetch_multiplier=10)
base.add_jobs(app, legion)


@app.task(name="flush", base=Batches, flush_every=100, flush_interval=1)
def flush(requests):
    for request in requests:
        base.note("start", "flush", id=request.id)


app.conf.beat_schedule = {"flush": {"task": "flush", "schedule": 3.0}}
