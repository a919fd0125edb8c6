"""A schedule for Celery's beat that keeps to the clock and is finer than a minute: none of its own is both."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from celery.schedules import schedstate, schedule


class OnGrid(schedule):
    """Due at each multiple of so many seconds since 1970."""

    def __init__(self, seconds: int, **options: Any) -> None:
        super().__init__(run_every=seconds, **options)
        self.period = seconds

    def is_due(self, last_run_at: datetime) -> schedstate:
        now = self.now().timestamp()
        due = (last_run_at.timestamp() // self.period + 1) * self.period
        if now >= due:
            return schedstate(is_due=True, next=self.period - now % self.period)
        return schedstate(is_due=False, next=due - now)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.period,)
