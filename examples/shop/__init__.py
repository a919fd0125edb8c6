"""A small shop whose chores run on a schedule.

Start it with ``celery -A shop worker`` and ``celery -A shop beat -S celery_legion.Scheduler``.
"""

from __future__ import annotations

import os

from celery import Celery

from celery_legion import Legion

BROKER = os.environ.get("SHOP_BROKER", "redis://localhost:6379/0")

app = Celery("shop", broker=BROKER, include=["shop.tasks", "shop.schedule"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    # What an app that ran Celery's own beat has; it stays as it is.
    beat_schedule={
        "count-stock": {"task": "shop.tasks.count_stock", "schedule": 4.0, "args": ("warehouse",)},
    },
)

legion = Legion(app)
