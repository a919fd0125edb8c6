"""What every trigger is: a pure rule that says when a job fires."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Trigger(Protocol):
    """When a job fires.

    Triggers are frozen, hashable and equal by value, so that equal triggers can
    share one computed fire time. They read no clock: the moment is an argument.
    Fires fall on whole milliseconds, because a fire's identity is stored as such.
    """

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first fire strictly later than *moment*, in UTC; None = never again.

        *moment* is aware, in any zone; a naive one raises ``TriggerError``.
        """
        ...

    def anchored(self, moment: datetime) -> Trigger:
        """Return this trigger with *moment* as the start of what has no start of its own.

        Only intervals lack a start; every other trigger returns itself.
        """
        ...

    def __hash__(self) -> int: ...
