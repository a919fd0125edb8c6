"""A command's process as the worker sees it: the shim, its pipes, and how it ends."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery_legion.command import Command
from celery_legion.worker.orphans import kill_orphans

SHIM = str(Path(__file__).with_name("shim.py"))

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL, unless someone asks for another grace."""

PATIENCE = 2.0
"""Seconds that the shim may take beyond the grace."""

READERS = 1.0
"""Seconds for which output is still read when the last process has ended: another's may hold the pipe open."""

CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Exit:
    """How a command ended: its exit code (-N = by signal N), and why it was ended, if it was.

    That is ``"timeout"``, ``"stopped"`` for an interruption, or ``"lost"`` with its shim, without a code. ``left`` is
    how many of its processes could not be killed.
    """

    code: int | None
    why: str | None = None
    left: int = 0


class CommandProcess:
    """Executes one command, once. What it writes goes to *on_output* as it comes, with True for standard error.

    *on_start* is told the shim's and the command's process ids; *on_asked* says by which signal and with which
    grace in seconds the command shall be ended when somebody asks by a signal to the shim.
    """

    def __init__(
        self,
        command: Command,
        env: Mapping[str, str],
        *,
        on_output: Callable[[bool, bytes], None],
        on_start: Callable[[int, int], None],
        on_asked: Callable[[], tuple[int, float]],
    ) -> None:
        self.command, self.env = command, env
        self.on_output, self.on_start, self.on_asked = on_output, on_start, on_asked
        self.exit: Exit | None = None
        self._ends: set[int] = set()
        self._control = self._status = -1
        self._outputs: dict[int, bool] = {}
        self._told = b""
        self._shim: Any = None

    def run(self) -> Exit:
        """Execute it and return when none of its processes is left.

        Whatever is raised meanwhile (a time limit, a kill that goes through the task) ends the command, with SIGTERM
        and after its grace SIGKILL, before it goes on. Should this process die, the shim kills the command at once.

        Raises:
            OSError: The shim cannot be started.
        """
        try:
            self._start()
            try:
                self._pump(None)
            except BaseException:
                self.stop(signal.SIGTERM, GRACE)
                self._pump(time.monotonic() + GRACE + PATIENCE)
                self._drain()
                raise
            self._drain()
        finally:
            self._close()
        return self.exit or Exit(None)

    def stop(self, number: int, grace: float) -> None:
        """End the command by a signal, and after *grace* seconds by force."""
        self._tell({"stop": int(number), "grace": grace})

    def _start(self) -> None:
        control, self._control = self._pipe()
        self._status, status = self._pipe()
        out, out_in = self._pipe()
        err, err_in = self._pipe()
        self._outputs = {out: False, err: True}
        self._shim = subprocess.Popen(
            [sys.executable, "-I", "-S", SHIM, str(control), str(status)],
            stdin=subprocess.DEVNULL,
            stdout=out_in,
            stderr=err_in,
            pass_fds=(control, status),
            start_new_session=True,
        )
        for end in (control, status, out_in, err_in):
            self._shut(end)
        command = self.command
        self._tell(
            {
                "argv": command.argv,
                "env": dict(self.env),
                "cwd": command.cwd,
                "umask": command.umask,
                "nice": command.nice,
                "user": command.user,
                "timeout": None if command.timeout is None else command.timeout.total_seconds(),
            }
        )

    def _pump(self, deadline: float | None) -> None:
        """Pass on output and news until the shim says that the command has ended."""
        with selectors.DefaultSelector() as selector:
            for end in (self._status, *self._outputs):
                if end in self._ends:
                    selector.register(end, selectors.EVENT_READ)
            while self.exit is None:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return
                for key, _ in selector.select(left):
                    if not self._read(key.fd):
                        selector.unregister(key.fd)
                        self._shut(key.fd)

    def _drain(self) -> None:
        deadline = time.monotonic() + READERS
        with selectors.DefaultSelector() as selector:
            for end in self._outputs:
                if end in self._ends:
                    selector.register(end, selectors.EVENT_READ)
            while selector.get_map() and (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    if not self._read(key.fd):
                        selector.unregister(key.fd)

    def _read(self, end: int) -> bool:
        data = os.read(end, CHUNK)
        if end in self._outputs:
            if data:
                self.on_output(self._outputs[end], data)
            return bool(data)
        *lines, self._told = (self._told + data).split(b"\n")
        for line in lines:
            self._hear(json.loads(line))
        if not data and self.exit is None:
            # The shim is dead, and has said nothing: someone, or the kernel for want of memory, has killed it.
            self.exit = Exit(None, "lost", kill_orphans(self.env, GRACE))
        return bool(data)

    def _hear(self, news: Mapping[str, Any]) -> None:
        if "pid" in news:
            self.on_start(self._shim.pid, news["pid"])
        elif "asked" in news:
            self.stop(*self.on_asked())
        else:
            self.exit = Exit(news["exit"], news["why"], news["left"])

    def _tell(self, order: Mapping[str, Any]) -> None:
        data = json.dumps(order).encode() + b"\n"
        # A shim that has ended takes no orders.
        with suppress(BrokenPipeError):
            while data:
                data = data[os.write(self._control, data) :]

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        self._ends.update(ends)
        return ends

    def _shut(self, end: int) -> None:
        if end in self._ends:
            self._ends.remove(end)
            os.close(end)

    def _close(self) -> None:
        # Closing the control pipe is what makes the shim kill, if anything is left.
        for end in list(self._ends):
            self._shut(end)
        if self._shim is not None:
            with suppress(subprocess.TimeoutExpired):
                self._shim.wait(GRACE + PATIENCE)
