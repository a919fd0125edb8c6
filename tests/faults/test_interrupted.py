"""The harness itself, told to end in the middle."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from celery_legion.embedded import NoServerError, find_server
from tests.conftest import missing
from tests.servers.polling import eventually
from tests.servers.processes import Processes
from tests.worker.survivors import descendants

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_all_that_it_has_started(tmp_path: Path, number: int) -> None:
    try:
        find_server()
    except NoServerError as exc:
        missing(str(exc))
    processes = Processes(tmp_path)
    harness = processes.start(sys.executable, "-m", "tests.faults", "quick", name="harness")
    try:
        started = eventually(lambda: len(found := descendants(harness.pid)) > 6 and found, 40, "beats and workers")
        harness.signal(number)
        assert harness.wait(90) == 130
        eventually(lambda: not [pid for pid in started if Path(f"/proc/{pid}").exists()], 20, "their ends")
        assert "interrupted: what was started is being ended" in harness.output
    finally:
        processes.end()
