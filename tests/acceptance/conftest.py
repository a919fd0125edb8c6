"""The environment of the app under test, and the command line as a user calls it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from celery_legion.embedded import EmbeddedValkey
from tests.acceptance.ledger import Ledger
from tests.servers.processes import ROOT, Process, Processes


@dataclass
class Shop:
    """One app with its servers: starts schedulers and workers, calls commands, reads what they say."""

    processes: Processes
    env: dict[str, str]
    ledger: Ledger
    module: str = "tests.acceptance.app"

    def beat(self, *args: str) -> Process:
        return self.processes.beat(self.module, *args, env=self.env)

    def worker(self, *args: str) -> Process:
        return self.processes.worker(self.module, "-c", "4", *args, env=self.env)

    def celery(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "celery", "-A", self.module, *args],
            capture_output=True,
            text=True,
            env=self._environment(env),
            cwd=ROOT,
            timeout=60,
            check=False,
        )

    def command(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.celery("legion", *args, **env)

    def read(self, *args: str) -> Any:
        done = self.command(*args, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def on_terminal(self, *args: str, columns: int = 80, **env: str) -> str:
        """Return what a command shows on a terminal of that width."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (50, columns))
        with open(ours, "rb", buffering=0) as screen:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", self.module, "legion", *args],
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                env=self._environment({"TERM": "xterm-256color", "COLUMNS": str(columns), **env}),
                cwd=ROOT,
            )
            os.close(theirs)
            shown = b""
            try:
                while data := screen.read(65536):
                    shown += data
            except OSError:
                pass  # how Linux says that the other side is closed
            assert process.wait(30) == 0, shown
        return shown.decode()

    def _environment(self, env: dict[str, str]) -> dict[str, str]:
        merged = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **self.env, **env}
        return {name: value for name, value in merged.items() if name != "NO_COLOR" or name in env}


@pytest.fixture
def make_shop(processes: Processes, tmp_path: Path) -> Callable[..., Shop]:
    def make(broker: str, store: str, jobs: str, **env: str) -> Shop:
        ledger = Ledger(tmp_path / "ledger.jsonl")
        settings = {
            "LEGION_TEST_BROKER": broker,
            "LEGION_TEST_STORE": store,
            "LEGION_TEST_JOBS": jobs,
            "LEGION_TEST_LEDGER": str(ledger.path),
            **env,
        }
        return Shop(processes, settings, ledger)

    return make


@pytest.fixture
def servers() -> Iterator[tuple[EmbeddedValkey, EmbeddedValkey]]:
    """A broker and a store of the test's own, to be killed."""
    with EmbeddedValkey() as broker, EmbeddedValkey() as store:
        yield broker, store
