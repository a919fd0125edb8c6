"""The README's examples are one app that can be read: every block runs, and together they make a schedule."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"
HEAD = "import logging\n"
READ = "\nprint(*sorted(job.name for job in legion.jobs.values() if job.source == 'code'))\n"


def test_the_examples_make_a_schedule(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "readme.py").write_text(HEAD + "\n".join(blocks) + READ)
    argv = [sys.executable, "-c", "import readme"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    names = done.stdout.split()
    assert {"readme.warm_cache", "readme.nightly_report", "backup", "mirror", "prune", "offsite"} <= set(names)
