"""Many short commands, each in a pool process of its own: nothing hangs, nothing is left over.

Celery itself replaces about nine pool processes a second, so the whole thousand takes three minutes; a run of the suite
takes fewer, and LEGION_TEST_COMMANDS=1000 all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from celery_legion.run import State
from tests.servers.polling import eventually
from tests.worker.survivors import descendants
from tests.worker.trial import Trial

pytestmark = pytest.mark.e2e

COUNT = int(os.environ.get("LEGION_TEST_COMMANDS", "50"))
BATCH = 25


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


@pytest.mark.timeout(420)
def test_many_commands_with_a_process_each(new_trial: Callable[..., Trial], tmp_path: Path) -> None:
    done = tmp_path / "done"
    trial = new_trial(commands={"short": {"line": f"echo $LEGION_RUN_ID >> {done}"}}, prefetch=16)
    worker = trial.worker("-c", "2", "--max-tasks-per-child", "1")
    runs = [trial.command("short", limit=0) for _ in range(BATCH)]
    eventually(lambda: not trial.still_open(set(runs)), 60, "the first of them")
    before = descriptors(worker.pid), threads(worker.pid)
    begun = time.monotonic()
    for _ in range(COUNT // BATCH - 1):
        some = {trial.command("short", limit=0) for _ in range(BATCH)}
        runs += some
        eventually(lambda some=some: not trial.still_open(some), 120, "more of them", pause=0.2)
    print(f"\n{len(runs) - BATCH} commands in {time.monotonic() - begun:.0f} s")
    assert {trial.record(run).state for run in runs[-100:]} == {State.SUCCEEDED}
    assert sorted(done.read_text().split()) == sorted(runs)
    assert len(runs) == COUNT
    after = descriptors(worker.pid), threads(worker.pid)
    # A pool process more or less is being replaced at any moment, with its pipes and watcher.
    assert after[0] - before[0] <= 12
    assert after[1] - before[1] <= 2
    assert trial.locked() == set()
    eventually(lambda: len(descendants(worker.pid)) <= 2, 10, "the pool alone")
    assert "Traceback" not in worker.output
    assert worker.terminate() == 0
