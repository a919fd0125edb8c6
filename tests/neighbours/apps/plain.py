"""An app beside nobody, and a long job: what every command is run on."""

import time

from tests.neighbours.apps import base

app, legion = base.make()
base.add_jobs(app, legion)


@app.task(name="long")
def long() -> None:
    base.seen("long")
    time.sleep(60)


legion.task("long").daily_at("02:00").name("long")
