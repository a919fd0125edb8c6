"""The environments that neighbours live in: made by pip from pinned versions, kept for as long as nothing changes."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.processes import ROOT

PINS = Path(__file__).with_name("pins")
"""One file an environment: all versions, those of the dependencies' dependencies too."""

CACHE = ROOT / ".neighbours"


class EnvironmentFailedError(RuntimeError):
    """pip could not make the environment; the end of what it said follows."""


def names() -> list[str]:
    """Return the names of all environments."""
    return sorted(path.stem for path in PINS.glob("*.txt"))


def ready(name: str) -> Path:
    """Return the Python of that environment; it is made anew if its pins, our metadata or this Python have changed.

    Raises:
        EnvironmentFailedError: It could not be made.
    """
    folder = CACHE / name
    pins = PINS / f"{name}.txt"
    python = folder / "bin" / "python"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    told = "\0".join((pins.read_text(), json.dumps(project), sys.version, str(ROOT)))
    wanted = hashlib.sha256(told.encode()).hexdigest()
    stamp = folder / ".made-from"
    CACHE.mkdir(exist_ok=True)
    with _alone(CACHE / f".{name}.lock"):
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            _run(sys.executable, "-m", "venv", str(folder))
            pip = (str(python), "-m", "pip", "--disable-pip-version-check")
            _run(*pip, "install", "--quiet", "--requirement", str(pins), "--editable", str(ROOT))
            _run(*pip, "check")
            stamp.write_text(wanted)
    return python


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes out: tests run beside each other."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise EnvironmentFailedError(f"{' '.join(argv)}\n{(done.stdout + done.stderr)[-2000:]}")
