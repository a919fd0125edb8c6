"""The examples of README and guides are apps that can be read: every block runs, and makes the jobs it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAD = "import logging\n"
READ = "\nprint(*sorted(job.name for job in legion.jobs.values() if job.source == 'code'))\n"

READ_TOGETHER = (
    (
        ("README.md", "docs/shell-commands.md", "docs/hooks.md"),
        {"example.warm_cache", "example.nightly_report", "backup", "mirror", "prune", "offsite"},
    ),
    (("docs/first-ten-minutes.md",), {"greet", "disk"}),
    (("docs/switch-an-existing-app.md",), set()),
)


@pytest.mark.parametrize(("documents", "jobs"), READ_TOGETHER)
def test_the_examples_make_a_schedule(documents: tuple[str, ...], jobs: set[str], tmp_path: Path) -> None:
    text = "\n".join((ROOT / name).read_text() for name in documents)
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "example.py").write_text(HEAD + "\n".join(blocks) + READ)
    env = {**os.environ, "CELERY_BROKER_URL": "redis://localhost:6379/0"}
    argv = [sys.executable, "-c", "import example"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False, env=env)

    assert done.returncode == 0, done.stderr
    assert jobs <= set(done.stdout.split())
