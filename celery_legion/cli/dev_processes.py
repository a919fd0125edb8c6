"""The processes of ``legion dev``: worker, scheduler and guard, their lines, and the signals that end them."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from celery_legion.cli import dev_ending
from celery_legion.cli.dev_ending import Ending
from celery_legion.embedded import die_with_parent

LOOK = 0.1
"""Seconds between two looks at signals, processes and the clock; lines are seen at once."""

TAIL = 8
"""Last lines of a process that has died by itself."""

LONGEST_LINE = 64 * 1024

Lines = Callable[[str, Sequence[str]], None]
"""Takes the title of a process and lines that it wrote."""


class Signals:
    """SIGINT, SIGTERM and SIGHUP as a wish to end, which is looked at where ending is safe.

    A second SIGINT calls ``at_second`` from the handler, at once: until there is something to kill, it raises
    KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.asked = False
        self.at_second: Callable[[], None] = self.check
        self._interrupts = 0
        self._raising = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch them from here on, also when the block is over: the process is about to end."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)
        yield

    @contextmanager
    def raising(self) -> Iterator[None]:
        """While code that is not ours runs, and may take long, end it by KeyboardInterrupt."""
        self._raising = True
        try:
            self.check()
            yield
        finally:
            self._raising = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if it was asked to end."""
        if self.asked:
            raise KeyboardInterrupt

    @property
    def killed(self) -> bool:
        """Whether a second SIGINT has come."""
        return self._interrupts > 1

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._interrupts += number == signal.SIGINT
        if self.killed:
            self.at_second()
        if self._raising:
            raise KeyboardInterrupt


class Guard:
    """A process that ends what dev leaves behind if dev is killed."""

    def __init__(self) -> None:
        self._process: Any = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(dev_ending.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *exc: object) -> None:
        self._tell({"done": True})
        with suppress(OSError):
            self._process.stdin.close()
        self._process.wait()

    def watch(self, pid: int, *, quits: bool = False) -> None:
        """Tell it of a process that leads a group."""
        self._tell({"group": pid, "quits": quits})

    def watch_folder(self, folder: Path) -> None:
        """Tell it of a folder that goes with dev."""
        self._tell({"folder": str(folder)})

    def _tell(self, news: Mapping[str, Any]) -> None:
        # Without its guard dev goes on: it ends things itself.
        with suppress(OSError):
            self._process.stdin.write(json.dumps(news).encode() + b"\n")
            self._process.stdin.flush()


class Child:
    """A process in a session of its own, which on Linux is told to end when dev dies; ``last`` are its last lines."""

    def __init__(self, title: str, argv: Sequence[str], *, quits: bool = False) -> None:
        self.title, self.quits = title, quits
        self.last: deque[str] = deque(maxlen=TAIL)
        self._rest = b""
        self.popen = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            preexec_fn=partial(die_with_parent, os.getpid()),
        )
        assert self.popen.stdout is not None
        self.output = self.popen.stdout.fileno()

    def read(self) -> list[str] | None:
        """Return the lines that are there; None when there will be no more."""
        data = os.read(self.output, 65536)
        *whole, self._rest = (self._rest + data).split(b"\n")
        if self._rest and (not data or len(self._rest) > LONGEST_LINE):
            whole, self._rest = [*whole, self._rest], b""
        lines = [line.decode(errors="replace").rstrip() for line in whole]
        self.last.extend(line for line in lines if line)
        return lines if data or lines else None


class Family:
    """The worker and the scheduler: what they write is passed on, and none is left at the end."""

    def __init__(self, children: Sequence[Child], lines: Lines, signals: Signals) -> None:
        self.children, self.signals = children, signals
        self._lines = lines
        self._selector = selectors.DefaultSelector()
        for child in children:
            self._selector.register(child.output, selectors.EVENT_READ, child)

    def watch(self, seconds: float | None) -> Child | None:
        """Watch them for *seconds*, or until it was asked to end; return the one that has died meanwhile."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while not self.signals.asked:
            left = LOOK if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return None
            self._pass_on(min(LOOK, left))
            for child in self.children:
                if child.popen.poll() is not None:
                    self._pass_on(LOOK)
                    return child
        return None

    def end(self) -> None:
        """End them all, within :data:`dev_ending.GIVE_UP_AFTER` seconds; a second SIGINT kills them at once."""
        ending = Ending({child.popen.pid: child.quits for child in self.children})
        while ending.step():
            self._pass_on(dev_ending.POLL)
            for child in self.children:
                child.popen.poll()
        ending.kill()
        ending.tidy()
        while self._pass_on(0):
            pass

    def _pass_on(self, seconds: float) -> bool:
        """Pass on what is written within *seconds*, if anything is; return whether something was."""
        if not self._selector.get_map():
            time.sleep(seconds)
            return False
        found = self._selector.select(seconds)
        for key, _ in found:
            lines = key.data.read()
            if lines is None:
                self._selector.unregister(key.fd)
            elif lines:
                self._lines(key.data.title, lines)
        return bool(found)
