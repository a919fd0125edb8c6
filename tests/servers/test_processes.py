"""Processes of tests: watched by their log, ended by their id, with what they started."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.servers.polling import eventually
from tests.servers.processes import Process, Processes

FOREVER = "print('up', flush=True); import time; time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {FOREVER}"
PARENT = (
    "import subprocess, sys, time; "
    f"child = subprocess.Popen([sys.executable, '-c', {STUBBORN!r}], stdout=subprocess.PIPE); child.stdout.readline(); "
    "print('child', child.pid, flush=True); time.sleep(60)"
)


def start(processes: Processes, code: str) -> Process:
    return processes.start(sys.executable, "-c", code)


def state(pid: int) -> str:
    """The letter of a process' state; empty if it is gone, and a zombie is."""
    try:
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if letter in "ZX" else letter


def test_waiting_returns_the_match_from_the_log(processes: Processes) -> None:
    process = start(processes, "print('port 17'); import time; time.sleep(60)")

    assert process.wait_for(r"port (\d+)").group(1) == "17"


def test_waiting_fails_at_once_and_shows_the_log_when_the_process_ends(processes: Processes) -> None:
    process = start(processes, "raise SystemExit('no broker')")

    with pytest.raises(AssertionError, match=r"ended with 1 before 'ready'(.|\n)*no broker"):
        process.wait_for("ready", deadline=60)


def test_waiting_fails_at_its_deadline_and_shows_the_log(processes: Processes) -> None:
    process = start(processes, FOREVER)
    process.wait_for("up")

    with pytest.raises(AssertionError, match=r"ready(.|\n)*up"):
        process.wait_for("ready", deadline=0)


def test_terminating_is_polite_first(processes: Processes) -> None:
    process = start(processes, f"import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); {FOREVER}")
    process.wait_for("up")

    assert process.terminate() == 7


def test_terminating_ends_a_process_that_does_not_listen(processes: Processes) -> None:
    process = start(processes, STUBBORN)
    process.wait_for("up")

    assert process.terminate(deadline=0.2) == -signal.SIGKILL


def test_a_stopped_process_can_be_terminated(processes: Processes) -> None:
    process = start(processes, FOREVER)
    process.wait_for("up")
    process.stop()
    eventually(lambda: state(process.pid) == "T", what="it is stopped")

    assert process.terminate() == -signal.SIGTERM


def test_a_killed_process_is_reaped_and_its_child_lives_on(processes: Processes) -> None:
    process = start(processes, PARENT)
    child = int(process.wait_for(r"child (\d+)").group(1))
    process.kill9()

    assert not process.alive
    assert state(child)
    processes.end()
    eventually(lambda: not state(child), what="the child is gone")


def test_the_end_of_a_test_ends_everything_it_started(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    parent, stopped = start(processes, PARENT), start(processes, FOREVER)
    child = int(parent.wait_for(r"child (\d+)").group(1))
    stopped.wait_for("up")
    stopped.stop()
    processes.end()

    eventually(lambda: not any(map(state, (parent.pid, child, stopped.pid))), what="all are gone")


def test_each_process_has_a_session_and_a_log_of_its_own(processes: Processes) -> None:
    one, other = start(processes, FOREVER), start(processes, FOREVER)
    one.wait_for("up")
    other.wait_for("up")

    assert len({os.getsid(0), os.getsid(one.pid), os.getsid(other.pid)}) == 3
    assert one.log != other.log
