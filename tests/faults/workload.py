"""Workloads: which jobs are on the schedule, and when they should fire by plain arithmetic.

Knows nothing of the code under test, so that the two can disagree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    With *late* its message is acknowledged when the work is done; with *command* a shell command does the work.
    """

    name: str
    grid: Grid
    period: int
    work: float
    phase: int = 0
    each: bool = False
    late: bool = False
    command: bool = False
    catch_up: str | None = None

    def fires(self, after: int, until: int, first: int | None = None) -> Iterator[int]:
        """Yield the fires in (after, until], in ms since 1970; *first* is a fire seen of a job of the grid FIRST."""
        phase = self.phase if self.grid is not Grid.FIRST or first is None else first % self.period
        fire = after + self.period - (after - phase) % self.period
        while fire <= until:
            yield fire
            fire += self.period


Workload = Sequence[Planned]

MIXED: Workload = (
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
"""For faults of leaders: whatever they do, workers are idle enough to run every fire that is sent."""

CALM: Workload = (
    *(Planned(f"second-{n}", Grid.CLOCK, 1000, 0.01) for n in range(4)),
    *(Planned(f"phase-{n}", Grid.PHASE, 2000, 0.05, 450 * n) for n in range(1, 4)),
    Planned("each-0", Grid.CLOCK, 2000, 0.01, each=True),
    Planned("half", Grid.CLOCK, 2000, 0.5),
)
"""A few jobs, for faults of networks, servers and clocks."""

LONG: Workload = (
    Planned("long", Grid.CLOCK, 1000, 15.0),
    Planned("long-late", Grid.CLOCK, 2000, 15.0, late=True),
    Planned("long-command", Grid.CLOCK, 1000, 15.0, command=True),
    Planned("short", Grid.CLOCK, 1000, 0.01),
)
"""Guarded runs of five leases (of 3 s), with fires every second."""

QUEUED: Workload = (
    *(Planned(f"guarded-{n}", Grid.CLOCK, 1000, 0.3) for n in range(3)),
    Planned("each", Grid.CLOCK, 1000, 0.05, each=True),
)
"""For backlogs: whatever lies in the queue, guarded runs never meet."""

TENS: Workload = tuple(Planned(f"ten-{n:02d}", Grid.CLOCK, 10_000, 0.01) for n in range(60))
"""For peers: sixty jobs every ten seconds, so that a fire is told from its neighbours by its time alone."""

BRIEF: Workload = tuple(Planned(f"second-{n:02d}", Grid.CLOCK, 1000, 0.01, each=True) for n in range(5))

NEXT: Workload = (*CALM, Planned("newer", Grid.CLOCK, 1000, 0.01))
"""A newer version of CALM's schedule, for rolling deploys."""

CROWD: Workload = tuple(Planned(f"crowd-{n:05d}", Grid.CLOCK, 60_000, 0.0) for n in range(10_000))
"""Ten thousand fires at one instant."""

ABSENT: Workload = tuple(
    Planned(f"{policy}-{span}", Grid.CLOCK, 60_000, 0.0, each=policy == "all", catch_up=policy)
    for policy in ("once", "all", "skip")
    for span in ("10m", "2h", "30d")
)
"""Every minute, under each catch-up policy."""

SOAK: Workload = (
    Planned("second-0", Grid.CLOCK, 1000, 0.01),
    Planned("second-1", Grid.CLOCK, 1000, 0.02, each=True),
    *(Planned(f"ten-{n:02d}", Grid.PHASE, 10_000, 0.05, 400 * n) for n in range(25)),
    *(Planned(f"thirty-{n:02d}", Grid.CLOCK, 30_000, 0.1, each=n % 2 == 0) for n in range(30)),
    Planned("busy", Grid.CLOCK, 5000, 6.0),
    Planned("command-0", Grid.CLOCK, 10_000, 0.2, command=True),
    Planned("late-0", Grid.CLOCK, 10_000, 0.5, late=True),
)

WORKLOADS: Mapping[str, Workload] = {
    "mixed": MIXED,
    "calm": CALM,
    "long": LONG,
    "queued": QUEUED,
    "tens": TENS,
    "brief": BRIEF,
    "next": NEXT,
    "broken": CALM,
    "crowd": CROWD,
    "absent": ABSENT,
    "soak": SOAK,
}


def hourly(jobs: Workload) -> float:
    """Return how many fires an hour has."""
    return sum(3_600_000 / job.period for job in jobs)
