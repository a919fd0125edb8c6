"""The ending of what ``legion dev`` has started: by dev itself, or by its guard when dev was killed.

Run by path as ``python -I -S dev_ending.py``, this file is the guard; standard library only. Its standard input is a
pipe from dev, with a line of JSON each: ``{"group": pid, "quits": bool}`` for a process that leads a group,
``{"folder": path}`` for a folder that goes with dev, ``{"done": true}`` when dev has ended everything itself. Where the
pipe ends without that, dev is dead, and the guard does it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Mapping

QUIT_AFTER = 2.0
"""Seconds after SIGTERM in which a worker may finish what it is at; then its shutdown is a cold one."""

KILL_AFTER = 3.2
GIVE_UP_AFTER = 4.2
POLL = 0.05


class Ending:
    """Ends process groups, in steps that the caller takes: SIGTERM, SIGQUIT to workers, then SIGKILL to whole groups.

    *groups* says of each leader's process id whether SIGQUIT is a cold shutdown to it.
    """

    def __init__(self, groups: Mapping[int, bool]) -> None:
        self.groups = dict(groups)
        self._began = time.monotonic()
        self._scratch = {folder for pid in groups for folder in scratch_folders(pid)}
        self._steps = [(0.0, self._ask), (QUIT_AFTER, self._press), (KILL_AFTER, self.kill)]

    def step(self) -> bool:
        """Do what it is time for; return whether anything is still alive, and worth waiting for."""
        passed = time.monotonic() - self._began
        while self._steps and self._steps[0][0] <= passed:
            self._steps.pop(0)[1]()
        return passed < GIVE_UP_AFTER and any(map(is_alive, self.groups))

    def kill(self) -> None:
        """Kill every group, with what has lost its leader."""
        for pid in self.groups:
            kill_group(pid)

    def tidy(self) -> None:
        """Remove what processes that were killed could not."""
        for folder in self._scratch:
            with contextlib.suppress(OSError):
                os.rmdir(folder)

    def _ask(self) -> None:
        for pid in self.groups:
            _signal(pid, signal.SIGTERM)

    def _press(self) -> None:
        for pid, quits in self.groups.items():
            if quits:
                _signal(pid, signal.SIGQUIT)


def is_alive(pid: int) -> bool:
    """Return whether anything of the group that *pid* leads, or led, is alive."""
    try:
        os.killpg(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    if not os.path.isdir("/proc/self"):
        return True
    # What nobody has reaped yet is still there, and in a container it may stay.
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                # The name in parentheses may hold anything, also parentheses.
                state, _, group = file.read().rpartition(b")")[2].split()[:3]
                if int(group) == pid and state not in (b"Z", b"X"):
                    return True
    return False


def scratch_folders(pid: int) -> set[str]:
    """Return the temporary folders that a worker's pool has made; empty where the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
            paths = [line.split(maxsplit=5)[-1] for line in file if "/pymp-" in line]
    except OSError:
        return set()
    return {os.path.dirname(path) for path in paths if os.path.basename(os.path.dirname(path)).startswith("pymp-")}


def kill_group(pid: int) -> None:
    """Kill a group at once."""
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def guard(lines: Iterable[str]) -> None:
    """Listen to dev until it is done, or dead; then end what it leaves."""
    groups: dict[int, bool] = {}
    folders: list[str] = []
    for line in lines:
        with contextlib.suppress(ValueError):
            news = json.loads(line)
            if "done" in news:
                return
            if "group" in news:
                groups[news["group"]] = news["quits"]
            else:
                folders.append(news["folder"])
    ending = Ending(groups)
    while ending.step():
        time.sleep(POLL)
    ending.tidy()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    guard(sys.stdin)
