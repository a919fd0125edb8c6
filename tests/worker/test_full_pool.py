"""A full pool of a worker without an event loop: Celery hangs in it; what runs and what waits are told apart."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from celery_legion.run import State
from tests.servers.patience import patient
from tests.servers.polling import eventually
from tests.worker.trial import Trial

pytestmark = pytest.mark.e2e

EXPIRES = patient(3.0)


def filesystem(folder: Path) -> dict[str, Any]:
    """Return what a trial needs for a broker in *folder*."""
    transport = {"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"}
    for name in {*transport.values()}:
        (folder / name).mkdir()
    return {"broker": "filesystem://", "transport": {key: str(folder / name) for key, name in transport.items()}}


@pytest.mark.parametrize("pool", ["prefork", "gevent", "eventlet"])
def test_a_full_pool_shows_what_waits_as_waiting_and_what_runs_can_be_interrupted(
    new_trial: Callable[..., Trial], tmp_path: Path, pool: str
) -> None:
    trial = new_trial(lease=6, **(filesystem(tmp_path) if pool == "prefork" else {}))
    trial.worker("-P", pool, "-c", "1")
    first = trial.run("work", {"seconds": 60})
    trial.started(first)
    sent = time.monotonic()
    second, third = trial.run("work", expires=EXPIRES), trial.run("work")
    # The consumer has received the second one by now, and hangs.
    eventually(lambda: f"[{second}] received" in trial.logs(), 10, "its receipt")
    assert trial.record(second).state is State.SENT
    eventually(lambda: time.monotonic() > sent + EXPIRES)
    trial.store.interrupt(first, 15, timedelta(seconds=2))
    end = trial.ended(first, 12)
    assert (end.state, end.reason) == (State.INTERRUPTED, "terminated")
    assert trial.ended(second, 15).state is State.EXPIRED
    assert trial.ended(third, 15).state is State.SUCCEEDED
