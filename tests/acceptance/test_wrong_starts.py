"""A worker's -S is its state file: with -B it runs Celery's own beat, and both processes say what to start instead."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.servers.processes import Processes

pytestmark = pytest.mark.e2e

APP = """
import os
from celery import Celery
from celery_legion import Legion

app = Celery("shop", broker=os.environ["BROKER"])
legion = Legion(app)
legion.call(print).name("nightly").daily_at("02:00")
"""


def test_a_scheduler_that_is_given_as_state_file_is_told_of_by_the_worker_and_its_beat(
    processes: Processes, redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "wrongly.py").write_text(APP)
    argv = [sys.executable, "-m", "celery", "-A", "wrongly", "worker", "-P", "solo"]
    env = {"BROKER": redis_url, "PYTHONPATH": str(tmp_path)}
    worker = processes.start(*argv, "-B", "-S", "celery_legion.Scheduler", env=env, cwd=tmp_path)

    right = r"celery -A wrongly worker -B --scheduler celery_legion\.Scheduler"
    worker.wait_for(rf"ERROR/MainProcess\] a worker's -S is its state file.*{right}", 30)
    worker.wait_for(rf"ERROR/Beat\] this beat runs celery\.beat\.PersistentScheduler.*: nightly; .*{right}", 30)
