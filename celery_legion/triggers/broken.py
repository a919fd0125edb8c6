"""The trigger of a job that was written wrongly: it never fires, and says why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Broken:
    """Stands where a trigger cannot be made. Its job keeps its place in the lists, with the *problem*."""

    problem: str

    def next_after(self, moment: datetime) -> datetime | None:
        """Return None."""
        return None

    def anchored(self, moment: datetime) -> Broken:
        """Return itself."""
        return self
