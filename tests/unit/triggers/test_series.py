"""Words with either series of cron-descriptor, whichever is installed: `make` fetches both beside the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import missing

SERIES = Path(sys.prefix) / "series"
WORDS = Path(__file__).with_name("test_words.py")


@pytest.mark.parametrize("series", ["1", "2"])
def test_a_schedule_has_the_same_words_with_either_series_of_cron_descriptor(series: str) -> None:
    folder = SERIES / f"cron-descriptor-{series}"
    if not folder.exists():
        missing(f"cron-descriptor {series} in {folder}: `make unit` fetches it")
    env = {**os.environ, "PYTHONPATH": str(folder)}
    which = [sys.executable, "-c", "import cron_descriptor as it; print(it.__version__, it.__file__)"]
    used = subprocess.run(which, env=env, capture_output=True, text=True, check=True, timeout=60)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(WORDS)]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=120)

    assert used.stdout.startswith(f"{series}.")
    assert str(folder) in used.stdout
    assert done.returncode == 0, done.stdout
