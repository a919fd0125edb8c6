"""Jobs that are broken in every way that a schedule allows; they must hurt nobody but themselves."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from celery.beat import BeatLazyFunc

from celery_legion.errors import LegionError

QUEUE = "refused"
"""A queue that the broker refuses: its key holds no list."""


class RaisingTrigger:
    """Raises at its second question."""

    asked = 0

    def next_after(self, moment: datetime) -> datetime | None:
        raise ZeroDivisionError("this trigger cannot count")

    def __str__(self) -> str:
        return "never to be known"


def raising(*args: Any) -> Any:
    raise RuntimeError("these arguments cannot be made")


def declare(legion: Any) -> None:
    """Put them on the schedule."""
    legion.task("faults.nobody_knows").name("missing-task").every_second()
    legion.task("faults.work", args=["x", object()]).name("unserialisable").every_second()
    legion.task("faults.work", args=["x", 0.0]).options(queue=QUEUE).name("refused-queue").every_second()
    legion.task("faults.work", args=[BeatLazyFunc(raising)]).name("lazy-arguments").every_second()
    legion.task("faults.work", args=["x", 0.0]).when(raising).name("raising-condition").every_second()
    try:
        legion.task("faults.work", args=["x", 0.0]).name("raising-trigger").trigger(RaisingTrigger())
    except (LegionError, AttributeError, TypeError):
        # Refused at its registration: better still.
        pass
