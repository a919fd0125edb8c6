"""Unions: a job that fires by several triggers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from celery_legion.triggers.asked import check_ahead
from celery_legion.triggers.base import Trigger
from celery_legion.triggers.errors import TriggerError


@dataclass(frozen=True, slots=True, init=False)
class Union:
    """Fires whenever one of its triggers does; an instant that several share is one fire.

    Unions within it are flattened and equal triggers dropped; the order is kept for
    display and does not matter for equality.
    """

    triggers: tuple[Trigger, ...] = field(compare=False)
    members: frozenset[Trigger] = field(repr=False)

    def __init__(self, *triggers: Trigger) -> None:
        if not triggers:
            raise TriggerError("a union", "of no triggers never fires", "give it at least one trigger")
        for trigger in triggers:
            check_ahead(trigger, "joined with others")
        flat = (member for trigger in triggers for member in _members(trigger))
        distinct = tuple(dict.fromkeys(flat))
        object.__setattr__(self, "triggers", distinct)
        object.__setattr__(self, "members", frozenset(distinct))

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the earliest next fire of its triggers."""
        fires = (trigger.next_after(moment) for trigger in self.triggers)
        return min((fire for fire in fires if fire is not None), default=None)

    def anchored(self, moment: datetime) -> Union:
        """Return the union of its triggers, each anchored at *moment*."""
        return Union(*(trigger.anchored(moment) for trigger in self.triggers))


def _members(trigger: Trigger) -> tuple[Trigger, ...]:
    return trigger.triggers if isinstance(trigger, Union) else (trigger,)
