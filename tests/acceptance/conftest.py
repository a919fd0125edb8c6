"""The environment of the app under test, and the command line as a user calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from celery_legion.embedded import EmbeddedValkey
from tests.acceptance.ledger import Ledger
from tests.servers.processes import ROOT, Process, Processes

pytestmark = pytest.mark.e2e


@dataclass
class Shop:
    """One app with its servers: starts schedulers and workers, calls commands, reads what they say."""

    processes: Processes
    env: dict[str, str]
    ledger: Ledger
    module: str = "tests.acceptance.app"
    extra: dict[str, str] = field(default_factory=dict)

    def beat(self, *args: str) -> Process:
        return self.processes.beat(self.module, *args, env=self.env)

    def worker(self, *args: str) -> Process:
        return self.processes.worker(self.module, "-c", "4", *args, env=self.env)

    def command(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        merged = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **self.env, **env}
        return subprocess.run(
            [sys.executable, "-m", "celery", "-A", self.module, "legion", *args],
            capture_output=True,
            text=True,
            env=merged,
            cwd=ROOT,
            timeout=60,
            check=False,
        )

    def read(self, *args: str) -> Any:
        done = self.command(*args, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


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
