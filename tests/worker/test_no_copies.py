"""In peace no message is taken for lost, however long it waits: in a backlog, for its time, or for its rate."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from celery_legion.run import State
from tests.servers.polling import eventually
from tests.worker.trial import Trial

pytestmark = pytest.mark.e2e

LEASE = 1.0
BACKLOG = 200


def test_a_backlog_a_countdown_and_a_rate_limit_cause_no_copies(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(lease=LEASE, prefetch=8)
    worker = trial.worker("-c", "1")
    beat = trial.beat()
    assert trial.client.control.rate_limit("tests.worker.app.late", "8/m", destination=["w0@trial"], reply=True)
    # Both wait for longer than the scheduler takes to look for lost messages.
    runs = [trial.run("late") for _ in range(2)]
    runs += [trial.run("work", countdown=7) for _ in range(2)]
    # However long the sending takes, the backlog waits behind this one.
    runs += [trial.run("work", {"seconds": 8})]
    runs += [trial.run("work", {"seconds": 0.01}) for _ in range(BACKLOG)]

    left = set(runs)
    eventually(lambda: not trial.still_open(left), 60, f"the end of {len(runs)} runs", pause=0.5)

    ended = [trial.record(run) for run in runs]
    assert {record.state for record in ended} == {State.SUCCEEDED}
    assert trial.count("start") == dict.fromkeys(runs, 1)
    waits = [record.started_at - record.claimed_at for record in ended if record.started_at and record.claimed_at]
    assert max(waits[5:]).total_seconds() > 3 * LEASE
    assert "seems to be lost" not in beat.output
    assert "a copy is dropped" not in worker.output
