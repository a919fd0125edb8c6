"""The house's own rules, checked on its source."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "celery_legion"
SOURCES = sorted(path for kind in ("*.py", "*.lua") for path in PACKAGE.rglob(kind))
TEXTS = sorted(
    path
    for path in ROOT.rglob("*")
    if path.is_file()
    and path.suffix in {".py", ".lua", ".md", ".toml", ".yaml", ".yml", ""}
    and not any(
        (part.startswith(".") and part != ".ci") or part == "__pycache__" for part in path.relative_to(ROOT).parts
    )
)
HEAVY = ("redis", "sqlalchemy", "flower", "pytest", "rich", "cron_descriptor", "humanize")


def length(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_no_file_of_the_package_has_more_than_400_lines() -> None:
    assert {str(path.relative_to(ROOT)): length(path) for path in SOURCES if length(path) > 400} == {}


def test_the_median_file_of_the_package_has_less_than_150_lines() -> None:
    assert statistics.median(length(path) for path in SOURCES) < 150


def test_no_check_is_silenced_in_the_package() -> None:
    silenced = []
    for path in PACKAGE.rglob("*.py"):
        with tokenize.open(path) as file:
            silenced += [
                f"{path.relative_to(ROOT)}:{token.start[0]}"
                for token in tokenize.generate_tokens(file.readline)
                if token.type == tokenize.COMMENT and re.search(r"type:\s*ignore|noqa|pragma", token.string)
            ]

    assert silenced == []


@pytest.mark.parametrize("module", ["celery_legion", "celery_legion.cli"])
def test_importing_the_package_loads_nothing_heavy(module: str) -> None:
    code = f"import {module}, sys; print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def test_no_file_names_a_folder_of_one_machine() -> None:
    # Written so that this file does not find itself.
    places = re.compile("/" + "(?:work|root|home/[a-z]+)/")

    assert [str(path.relative_to(ROOT)) for path in TEXTS if places.search(path.read_text(errors="ignore"))] == []


def test_every_script_of_the_redis_store_says_what_it_takes_and_returns() -> None:
    scripts = sorted((PACKAGE / "stores/redis/lua").glob("*.lua"))

    assert [path.name for path in scripts if not path.read_text().startswith("-- ")] == []
    assert len(scripts) > 25
