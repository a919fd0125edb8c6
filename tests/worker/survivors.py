"""What is left of a run's command: found by the run's id in the environment of every process on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.servers.patience import patient
from tests.worker.trial import Trial


def survivors(run: str) -> list[int]:
    """Return the living processes that carry *run*'s id in their environment, whatever session they are in."""
    found = []
    mark = f"LEGION_RUN_ID={run}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0") and b") Z" not in (entry / "stat").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def watch(trial: Trial, run: str, job: str, act: Callable[[], object], within: float, seconds: float = 20) -> float:
    """Do *act* and watch the run's processes and lock until both are gone; return how long the processes lived.

    Fails if a process is alive after *within* seconds of a machine that is not busy, or while the lock is free. The
    lock is looked at first: what is alive after a free lock was alive beside it.
    """
    within, seconds = patient(within), patient(seconds)
    act()
    begun = time.monotonic()
    died: float | None = None
    while time.monotonic() < begun + seconds:
        free = job not in trial.locked()
        alive = survivors(run)
        now = time.monotonic() - begun
        assert not (free and alive), f"the lock is free after {now:.2f} s, and {alive} live"
        if not alive and died is None:
            died = now
        assert died is not None or now < within, f"{alive} live after {now:.2f} s"
        if free and died is not None:
            return died
        time.sleep(0.02)
    raise AssertionError(f"after {seconds} s: processes {survivors(run)}, locks {trial.locked()}, {trial.record(run)}")


def descendants(pid: int) -> list[int]:
    """Return the living processes below *pid*."""
    found = []
    # Each thread has children of its own.
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        # It may end while it is looked at.
        with suppress(OSError):
            for child in children.read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def parent(pid: int) -> int:
    """Return a process's parent: of a command's leader the shim, and of that the pool process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
