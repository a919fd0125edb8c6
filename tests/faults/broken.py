"""Jobs that are broken in every way that a schedule allows; they must hurt nobody but themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.beat import BeatLazyFunc

from tests.faults import unwilling

QUEUE = "refused"
"""A queue that the broker refuses: its key holds no list."""


@dataclass(frozen=True)
class RaisingTrigger:
    """Fires each second, and fails after some."""

    until: datetime

    def next_after(self, moment: datetime) -> datetime | None:
        if moment > self.until:
            raise ZeroDivisionError("this trigger cannot count any further")
        return moment.replace(microsecond=0) + timedelta(seconds=1)

    def anchored(self, moment: datetime) -> RaisingTrigger:
        return self


def raising(*args: Any) -> Any:
    raise RuntimeError("these arguments cannot be made")


def declare(legion: Any, app: Any, *, rabbitmq: bool) -> None:
    """Put them on the schedule, and those of :mod:`tests.faults.unwilling`."""
    unwilling.declare(legion, app, rabbitmq=rabbitmq)
    legion.task("faults.nobody_knows").name("missing-task").every_second()
    legion.task("faults.work", args=["x", object()]).name("unserialisable").every_second()
    legion.task("faults.work", args=["x", 0.0]).options(queue=QUEUE).name(
        "refused-queue"
    ).allow_overlapping().every_second()
    legion.task("faults.work", args=[BeatLazyFunc(raising)]).name("lazy-arguments").every_second()
    legion.task("faults.work", args=["x", 0.0]).when(raising).name("raising-condition").every_second()
    for name, seconds in (("raising-trigger", -60), ("raising-later", 12)):
        trigger = RaisingTrigger(datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds))
        legion.task("faults.work", args=["x", 0.0]).name(name).trigger(trigger)
