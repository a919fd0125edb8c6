"""All scenarios, in the order of the list of faults."""

from __future__ import annotations

from tests.faults.scenario import Scenario
from tests.faults.scenarios import absence, asking, clocks, leaders, network, peers, schedules, servers, soak, workers

SCENARIOS: tuple[Scenario, ...] = (
    *leaders.SCENARIOS,
    *workers.SCENARIOS,
    *asking.SCENARIOS,
    *servers.SCENARIOS,
    *network.SCENARIOS,
    *schedules.SCENARIOS,
    *absence.SCENARIOS,
    *clocks.SCENARIOS,
    *peers.SCENARIOS,
    *soak.SCENARIOS,
)
