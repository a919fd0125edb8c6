"""Evidence in which nothing is wrong."""

from __future__ import annotations

import pytest

from celery_legion.run import State
from tests.faults import traffic
from tests.faults.evidence import Evidence
from tests.faults.sound import JOBS, START, a_claim, a_lapse, a_run, an_execution


@pytest.fixture
def sound() -> Evidence:
    """Five seconds in which all went well: the third and fourth fire of tick fell into an outage."""
    seconds = [START + 1000 * n for n in range(1, 6)]
    tick = [a_run("tick", fire) for fire in (*seconds[:2], seconds[4])]
    tick.insert(2, a_lapse("tick", seconds[2], seconds[3], 2, State.MISSED, "catch_up"))
    each = [a_run("each", fire - 750) for fire in seconds]
    fault = {"event": "hit", "epoch": 1, "wall": seconds[2] / 1000 - 0.2, "mono": 1.0}
    healed = {"event": "published", "epoch": 2, "wall": seconds[4] / 1000, "mono": 3.0}
    begun = {"event": "published", "epoch": 1, "wall": START / 1000, "mono": 0.0}
    return Evidence(
        since=START,
        until=START + 5000,
        records={"tick": tick, "each": each},
        executions=[an_execution(record) for record in (*tick, *each) if record.id],
        notes=[begun, a_claim(1, 0.5), fault, a_claim(2, 2.9), healed],
        jobs=JOBS,
    )


@pytest.fixture
def heard() -> Evidence:
    """Five seconds in which every fire was sent once, and executed."""
    records = {job.name: [a_run(job.name, fire) for fire in job.fires(START, START + 5000)] for job in traffic.JOBS}
    messages = sorted((traffic.a_message(one) for some in records.values() for one in some), key=lambda one: one.wall)
    return Evidence(
        since=START,
        until=START + 5000,
        records=records,
        executions=[traffic.an_execution(message) for message in messages],
        notes=[{"event": "published", "epoch": 1, "wall": START / 1000, "mono": 100.0}],
        jobs=traffic.JOBS,
        messages=messages,
    )
