"""The workload: which jobs are on the schedule, and when they should fire by plain arithmetic.

Knows nothing of the code under test, so that the two can disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Grid(Enum):
    """Where a job's fires lie: on the clock's seconds, on a given phase, or on one set when it is first seen."""

    CLOCK = "clock"
    PHASE = "phase"
    FIRST = "first"


@dataclass(frozen=True, slots=True)
class Planned:
    """A job that fires every *period* ms, and works for *work* seconds.

    It never overlaps itself, and after an outage only its latest fire runs; with *each* it may, and every fire runs.
    """

    name: str
    grid: Grid
    period: int
    work: float
    phase: int = 0
    each: bool = False

    def fires(self, after: int, until: int, first: int | None = None) -> Iterator[int]:
        """Yield the fires in (after, until], in ms since 1970; *first* is a fire seen of a job of the grid FIRST."""
        phase = self.phase if self.grid is not Grid.FIRST or first is None else first % self.period
        fire = after + self.period - (after - phase) % self.period
        while fire <= until:
            yield fire
            fire += self.period


JOBS = (
    *(Planned(f"second-{n}", Grid.CLOCK, 1000, 0.01) for n in range(7)),
    *(Planned(f"even-{n}", Grid.CLOCK, 2000, 0.05) for n in range(3)),
    *(Planned(f"phase-{n}", Grid.PHASE, 1000, 0.01, 150 * n) for n in range(1, 7)),
    Planned("seen-0", Grid.FIRST, 2000, 0.02),
    Planned("seen-1", Grid.FIRST, 1500, 0.02),
    Planned("each-0", Grid.CLOCK, 1000, 0.01, each=True),
    Planned("each-1", Grid.CLOCK, 2000, 0.05, each=True),
    Planned("each-2", Grid.PHASE, 1500, 0.01, 40, each=True),
    Planned("half", Grid.CLOCK, 1000, 0.5),
    # Overlaps itself: each second fire must be skipped.
    Planned("long", Grid.CLOCK, 1000, 1.3),
)
