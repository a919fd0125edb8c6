"""An app without a task of its own: all that its workers execute is described on the schedule, and discovered late."""

from __future__ import annotations

import os

from celery import Celery

from celery_legion import Legion
from celery_legion.worker import CurrentRun


def make_app() -> Celery:
    app = Celery("taskless", broker=os.environ["TRIAL_BROKER"])
    app.conf.update(
        legion_store_url=os.environ["TRIAL_STORE"],
        legion_key_prefix="trial",
        worker_pool_start_method=os.environ["TRIAL_START_METHOD"],
    )
    Legion(app).autodiscover(["tests.worker"], "errands")
    return app


app = make_app()


@Legion(app).on_failure
def tell(run: CurrentRun) -> None:
    raise RuntimeError(f"told of {run.job}")
