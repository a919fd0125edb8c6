"""An app that has moved from RedBeat: its entries are still in Redis, and an old RedBeat may still run."""

from celery.schedules import schedule
from redbeat.schedules import rrule

from tests.neighbours.apps import base

app, legion = base.make(
    redbeat_redis_url=base.env["NEIGHBOUR_REDIS"], redbeat_lock_timeout=10, beat_max_loop_interval=1
)
base.add_jobs(app, legion)


@app.task(name="entry")
def entry() -> None:
    base.seen("entry")


@app.task(name="thrice")
def thrice() -> None:
    base.seen("thrice")


app.conf.beat_schedule = {
    "entry": {"task": "entry", "schedule": schedule(3.0)},
    "thrice": {"task": "thrice", "schedule": rrule("SECONDLY", interval=2, count=3)},
}
