"""An app for celery-aio-pool: coroutines and plain functions as tasks."""

import asyncio

from tests.neighbours.apps import base

app, legion = base.make()
base.add_jobs(app, legion)


@app.task(name="awaiting")
async def awaiting() -> None:
    base.seen("awaiting")
    await asyncio.sleep(0.1)


legion.task("awaiting").every("2s").name("awaiting")
