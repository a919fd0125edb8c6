"""Faults of clocks: steps and drifts of a host's and of the store's, and the changes of daylight saving."""

from __future__ import annotations

from tests.faults import clock_steps, daylight
from tests.faults.scenario import Scenario

SCENARIOS = (
    Scenario(
        name="clock-steps",
        faults="F14",
        told="clocks that step and drift, of the leader's host and of the store",
        alone=clock_steps.scenario,
        seconds=240,
    ),
    Scenario(
        name="daylight",
        faults="F15",
        told="both changes of daylight saving in three zones",
        alone=daylight.scenario,
        seconds=200,
    ),
)
