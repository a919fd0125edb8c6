"""All scenarios, in the order of the list of faults."""

from __future__ import annotations

from tests.faults.scenario import Scenario
from tests.faults.scenarios import asking, leaders, network, schedules, servers, workers

SCENARIOS: tuple[Scenario, ...] = (
    *leaders.SCENARIOS,
    *workers.SCENARIOS,
    *asking.SCENARIOS,
    *servers.SCENARIOS,
    *network.SCENARIOS,
    *schedules.SCENARIOS,
)
