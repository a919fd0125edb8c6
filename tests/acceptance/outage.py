"""Measures of an outage: how long it is, what falls due in it, and what it costs."""

from __future__ import annotations

import os
from collections.abc import Mapping

from tests.acceptance.ledger import Ledger
from tests.servers.processes import Process

AWAY = 20.0
"""Seconds."""

IDLE = 0.2
"""Share of a core that a process may use while it can do nothing."""


def cpu_seconds(process: Process) -> float:
    """Return the processor time a process has used so far."""
    with open(f"/proc/{process.pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def due_between(start: float, end: float) -> dict[str, int]:
    """Return job → fire of the ``spread`` jobs for each whole second well within *start* and *end*."""
    assert end - start < 55
    return {f"spread-{at % 60}": at for at in range(int(start) + 2, int(end))}


def missing(ledger: Ledger, due: Mapping[str, int]) -> set[str]:
    """Return the jobs of *due* whose fire has not run."""
    ran = {(line["job"], round(line["fire"])) for line in ledger.lines() if line["event"] == "start"}
    return {job for job, at in due.items() if (job, at) not in ran}
