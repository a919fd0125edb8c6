"""An app with Sentry's integration: errors, traces, and check-ins of monitors."""

import sentry_sdk
from celery import signals
from celery.schedules import crontab
from sentry_sdk.integrations.celery import CeleryIntegration

from tests.neighbours.apps import base

app, legion = base.make()
base.add_jobs(app, legion)


@signals.celeryd_init.connect
@signals.beat_init.connect
def start_sentry(**_: object) -> None:
    sentry_sdk.init(
        base.env["NEIGHBOUR_SENTRY"],
        traces_sample_rate=1.0,
        integrations=[CeleryIntegration(monitor_beat_tasks=True)],
    )


@app.task(name="nightly")
def nightly() -> None:
    base.seen("nightly")


@app.task(name="broken")
def broken() -> None:
    base.seen("broken")
    raise RuntimeError("broken on purpose")


app.conf.beat_schedule = {
    "nightly": {"task": "nightly", "schedule": crontab(minute="30", hour="4")},
    "broken": {"task": "broken", "schedule": crontab(minute="45", hour="4")},
}
