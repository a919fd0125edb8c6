"""The model of a workload counts the fires that a schedule has."""

from __future__ import annotations

from tests.faults.sound import START
from tests.faults.workload import Grid, Planned


def test_the_model_counts_fires_strictly_after_the_start_and_up_to_the_end() -> None:
    seconds = Planned("s", Grid.CLOCK, 1000, 0)
    phased = Planned("p", Grid.PHASE, 1500, 0, 40)
    seen = Planned("f", Grid.FIRST, 2000, 0)

    assert list(seconds.fires(START, START + 2000)) == [START + 1000, START + 2000]
    assert all(fire % 1500 == 40 for fire in phased.fires(START, START + 9000))
    assert list(seen.fires(START, START + 5000, first=START + 1234)) == [START + 1234, START + 3234]
