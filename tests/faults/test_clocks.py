"""The quickest trials with clocks that are ours, where libfaketime is installed; ``make faults`` runs them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from celery_legion.embedded import NoServerError, find_server
from tests.conftest import missing
from tests.faults import clock_steps, daylight
from tests.faults.faketime import find_library

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(120),
    pytest.mark.skipif(find_library() is None, reason="libfaketime is not installed (dependency group 'faults')"),
]


@pytest.fixture(autouse=True)
def _server(tmp_path: Path) -> None:
    try:
        find_server()
    except NoServerError as exc:
        missing(str(exc))


def test_a_beat_started_in_the_second_pass_sends_one_message_a_slot() -> None:
    row = daylight.run(daylight.Trial(zone="Europe/Berlin", change="autumn", start="second pass"))

    assert daylight.breaches(row) == []
    assert row["messages"] == row["slots"] > 80


@pytest.mark.faults
def test_a_leader_whose_clock_steps_and_that_is_killed_moves_no_fire() -> None:
    row = clock_steps.run(clock_steps.Trial(who="leader", step=3600))

    assert clock_steps.breaches(row) == []
    assert row["slots"] >= 25
