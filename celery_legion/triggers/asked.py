"""Schedules that decide when they are asked: nobody knows their fires ahead."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from celery_legion.triggers.errors import TriggerError


@dataclass(frozen=True, slots=True)
class Answer:
    """What a schedule says when it is asked: whether it is due now, and for how long not to ask it again."""

    due: bool
    wait: timedelta


class Asked(ABC):
    """A trigger that is asked at the present moment, each time anew, whether it is due.

    It has no fire ahead, so missed moments cannot be made up for. It fires once for an answer at most, at the
    moment it was asked. ``text`` is what it is called in lists, ``state_print`` changes when it is written otherwise.
    """

    __slots__ = ()

    text: str
    state_print: str

    @abstractmethod
    def ask(self, last_run: datetime) -> Answer:
        """Return what the schedule says now, when its job has last run at *last_run*.

        It may change by being asked. What a user's code raises is raised.
        """

    def next_after(self, moment: datetime) -> datetime | None:
        """Return None: only the schedule knows, and only when it is asked."""
        return None

    def anchored(self, moment: datetime) -> Self:
        """Return itself."""
        return self


def check_ahead(trigger: object, fate: str) -> None:
    """Refuse a trigger whose fires nobody knows ahead, where they have to be known."""
    if isinstance(trigger, Asked):
        fault = f"decides when it is asked, so it cannot be {fate}"
        raise TriggerError(f"schedule {trigger.text}", fault, "let it decide that too, or use when(...)")
