"""The plain app with a schedule that only knows when it is asked, and an entry that is written wrongly."""

from __future__ import annotations

import os
import time
from typing import Any

from celery.schedules import BaseSchedule, schedstate

from tests.acceptance.plain import app


class Clocked(BaseSchedule):
    """Due from a moment on, whatever it is told of its last run, and not to be asked again for years."""

    def __init__(self, at: float) -> None:
        super().__init__()
        self.at = at

    def is_due(self, last_run_at: Any) -> Any:
        left = self.at - time.time()
        return schedstate(True, 1e8) if left <= 0 else schedstate(False, left)


app.conf.update(
    legion_leader_lease=6,
    beat_schedule={
        "clocked": {
            "task": "plain.record",
            "schedule": Clocked(float(os.environ["LEGION_TEST_AT"])),
            "args": ("clocked",),
        },
        "good": {"task": "plain.record", "schedule": 1.0, "args": ("good",)},
        "slip": {"task": "plain.record", "schedule": 1.0, "args": 16},
    },
)
