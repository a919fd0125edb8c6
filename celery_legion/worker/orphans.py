"""Orphans: what is left of a command whose shim was itself killed, found by the run in its environment."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

MARKS = ("LEGION_RUN_ID", "LEGION_TOKEN")
"""The variables that together name one attempt of one run."""

PAUSE = 0.05


def orphans(env: Mapping[str, str]) -> list[int]:
    """Return the living processes, other than this one, that carry the marks of *env*; none where there is no /proc."""
    marks = {f"{name}={env[name]}".encode("utf-8", "surrogateescape") for name in MARKS if name in env}
    if len(marks) < len(MARKS) or not os.path.isdir("/proc/self"):
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        # One that is gone, or belongs to another user.
        with suppress(OSError):
            if marks <= set((entry / "environ").read_bytes().split(b"\0")):
                found.append(int(entry.name))
    return found


def kill_orphans(env: Mapping[str, str], seconds: float) -> int:
    """Kill the processes of *env*'s run until there are none, within *seconds*; return how many are left."""
    deadline = time.monotonic() + seconds
    while (found := orphans(env)) and time.monotonic() < deadline:
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(PAUSE)
    return len(found)
