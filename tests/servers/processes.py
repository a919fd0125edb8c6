"""Processes that a test starts, watches through their log, and ends by their id."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.servers.patience import patient
from tests.servers.polling import eventually

ROOT = Path(__file__).resolve().parents[2]


class Process:
    """One started process in a session of its own; its output goes to ``log``."""

    def __init__(self, argv: Sequence[str], log: Path, env: Mapping[str, str], cwd: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            self.popen = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, pattern: str, deadline: float = 20.0) -> re.Match[str]:
        """Return the first match of *pattern* in the log; fail with the log's tail if the process ends or time does."""

        def probe() -> re.Match[str] | None:
            found = re.search(pattern, self.output)
            if found is None and not self.alive:
                raise AssertionError(f"ended with {self.popen.returncode} before {pattern!r}:\n{self.output[-3000:]}")
            return found

        try:
            return eventually(probe, deadline, pattern)
        except AssertionError as exc:
            raise AssertionError(f"{exc}\n{self.output[-3000:]}") from exc

    def signal(self, number: int) -> None:
        if self.alive:
            self.popen.send_signal(number)

    def stop(self) -> None:
        """Pause it: SIGSTOP."""
        self.signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Let it go on: SIGCONT."""
        self.signal(signal.SIGCONT)

    def kill9(self) -> None:
        """Kill the process itself, as a crash would, and reap it."""
        self.signal(signal.SIGKILL)
        self.popen.wait(10)

    def wait(self, deadline: float = 20.0) -> int:
        """Return its exit code."""
        return self.popen.wait(patient(deadline))

    def terminate(self, deadline: float = 15.0) -> int:
        """SIGTERM, then SIGKILL of its group after *deadline*; returns the exit code."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return self.popen.wait(patient(deadline))
        except subprocess.TimeoutExpired:
            self.kill_group()
            return self.popen.wait(10)

    def kill_group(self) -> None:
        """SIGKILL everything in its session's group that is left."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        try:
            self.popen.wait(10)
        except subprocess.TimeoutExpired:
            pass


class Processes:
    """Starts processes with logs under one folder, and ends what is left of them.

    Celery is run by *python*: this one's, unless another environment's is named.
    """

    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        self.folder = folder
        self.python = python
        self.started: list[Process] = []

    def start(
        self, *argv: str, name: str = "process", env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Process:
        """Start *argv* with the tests' root on the PYTHONPATH and *env* added to the environment."""
        merged = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", **(env or {})}
        log = self.folder / f"{len(self.started):02d}-{name}.log"
        process = Process(argv, log, merged, cwd or ROOT)
        self.started.append(process)
        return process

    def celery(self, app: str, *args: str, name: str | None = None, env: Mapping[str, str] | None = None) -> Process:
        """Start ``python -m celery -A app …``."""
        return self.start(self.python, "-m", "celery", "-A", app, *args, name=name or args[0], env=env)

    def beat(self, app: str, *args: str, env: Mapping[str, str] | None = None) -> Process:
        """Start beat with our scheduler."""
        base = ("beat", "-S", "celery_legion.Scheduler", "--loglevel", "INFO", "--pidfile=")
        return self.celery(app, *base, *args, name="beat", env=env)

    def worker(self, app: str, *args: str, env: Mapping[str, str] | None = None) -> Process:
        """Start a worker and wait until it is ready."""
        base = ("worker", "--loglevel", "INFO", "--without-gossip", "--without-mingle")
        process = self.celery(app, *base, *args, name="worker", env=env)
        process.wait_for(r"ready\.", 40)
        return process

    def end(self) -> None:
        """End all that is left: TERM to each, a moment, then KILL to their groups."""
        for process in self.started:
            process.cont()
            process.signal(signal.SIGTERM)
        deadline = time.monotonic() + 8
        for process in self.started:
            try:
                process.popen.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
            process.kill_group()
