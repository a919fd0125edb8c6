"""A project's own tests: Celery's fixtures on a broker in memory, in one process, with nothing to start or to set."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

SUITE = """
import time
import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from celery_legion import Legion, Scheduler
from celery_legion.errors import ConfigurationError

app = Celery("shop", broker="memory://", backend="cache+memory://")
legion = Legion(app)


@app.task(name="shop.add")
def add(x, y):
    return x + y


legion.call(add, 1, 2).name("sum").every("1s")


@pytest.fixture(scope="session")
def celery_session_app():
    return app


@pytest.fixture(scope="session")
def celery_includes():
    return ["celery.contrib.testing.tasks"]


def test_a_task_is_executed(celery_session_worker):
    assert add.delay(2, 2).get(timeout=5) == 4


def test_a_job_runs_and_is_recorded(celery_session_worker):
    scheduler = Scheduler(app, lazy=True)
    deadline = time.monotonic() + 20
    states = []
    while "succeeded" not in states and time.monotonic() < deadline:
        scheduler.tick()
        time.sleep(0.1)
        states = [str(record.state) for record in legion.context.store.runs("sum", 10)]
    assert "succeeded" in states, states


def test_a_wrong_setting_is_raised_and_ends_nothing():
    wrong = Celery("wrong", broker="memory://", set_as_current=False)
    wrong.conf.legion_run_lease = "soon"
    Legion(wrong)
    with pytest.raises(ConfigurationError, match="legion_run_lease"):
        with start_worker(wrong, pool="solo", perform_ping_check=False):
            pass
"""


def test_a_test_suite_on_a_broker_in_memory_passes(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ("celery.contrib.pytest",)\n')
    (tmp_path / "test_shop.py").write_text(SUITE)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "test_shop.py"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
