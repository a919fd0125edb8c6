"""How hard properties are tried: shortly and always the same in a test run, or as long as someone asks for."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

ASKED = os.environ.get("LEGION_PROPERTY_EXAMPLES")
"""How many examples each property is tried with; without it a few, and the same ones each time."""

PATIENCE = pytest.mark.timeout(3600 if ASKED else 180)

UNHURRIED = (
    HealthCheck.too_slow,
    HealthCheck.filter_too_much,
    HealthCheck.data_too_large,
    HealthCheck.function_scoped_fixture,
)


def effort(quick: int, steps: int = 50) -> settings:
    """Return the settings of a property that is tried *quick* times in a test run."""
    if ASKED:
        return settings(
            max_examples=int(ASKED), stateful_step_count=steps, deadline=None, suppress_health_check=UNHURRIED
        )
    return settings(
        max_examples=quick,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=UNHURRIED,
    )
