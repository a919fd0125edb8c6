"""A small shop whose chores run on a schedule.

Try it, in the folder above, with ``celery -A shop legion dev``.
"""

from __future__ import annotations

import os

from celery import Celery

from celery_legion import Legion

# Without a broker, `legion dev` starts one of its own.
app = Celery("shop", broker=os.environ.get("SHOP_BROKER"), include=["shop.tasks", "shop.schedule"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    # What an app that ran Celery's own beat has; it stays as it is.
    beat_schedule={
        "count-stock": {"task": "shop.tasks.count_stock", "schedule": 4.0, "args": ("warehouse",)},
    },
)

legion = Legion(app)
