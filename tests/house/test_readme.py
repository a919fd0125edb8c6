"""The examples of README and guides are apps that can be read: every block runs, and makes the jobs it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.documents import NOT_RUN, READ_TOGETHER, ROOT, code_of

READ = "\nprint(*sorted(job.name for job in legion.jobs.values() if job.source == 'code'))\n"

JOBS = (
    {"example.warm_cache", "example.nightly_report", "backup", "mirror", "prune", "offsite"},
    {"greet", "disk"},
    set(),
)


@pytest.mark.parametrize(("documents", "jobs"), list(zip(READ_TOGETHER, JOBS, strict=True)))
def test_the_examples_make_a_schedule(documents: tuple[str, ...], jobs: set[str], tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(code_of(*documents) + READ)
    env = {**os.environ, "CELERY_BROKER_URL": "redis://localhost:6379/0"}
    argv = [sys.executable, "-c", "import example"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False, env=env)

    assert done.returncode == 0, done.stderr
    assert jobs <= set(done.stdout.split())


def test_no_document_with_python_code_is_left_out() -> None:
    known = {*NOT_RUN, *(name for documents in READ_TOGETHER for name in documents)}
    with_code = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
        if "```python\n" in path.read_text()
    }

    assert with_code == known
