"""mypy and pyright accept what the README and the guides tell people to write, and find what is misspelt."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import celery_legion
from tests.house.documents import NOT_RUN, READ_TOGETHER, ROOT, code_of

# Celery has no types of its own, and examples are not annotated.
MYPY = (sys.executable, "-m", "mypy", "--ignore-missing-imports", "--check-untyped-defs", "--no-incremental")
STRICT = (*MYPY, "--strict", "--allow-subclassing-any", "--cache-dir", os.devnull)
PYRIGHT = (sys.executable, "-m", "pyright", "--pythonpath", sys.executable)

ANNOTATED = """
from datetime import timedelta

from celery import Celery

from celery_legion import Cron, Interval, Legion, LegionError, Once, Scheduler, Union, current_run, scheduled

app = Celery("shop")
legion: Legion = Legion(app)


@scheduled("*/5 * * * *", tags=["cache"])
def warm_cache() -> int:
    return 1


@scheduled(timedelta(minutes=5), name="again")
@scheduled.daily_at("02:00", timezone="Europe/Berlin")
def nightly(kind: str = "all") -> None:
    run = current_run()
    print(run.id if run is not None else kind)


number: int = warm_cache()
nightly(kind="all")
legion.call(nightly, "all").name("third").trigger(Union(Cron("@daily"), Interval(timedelta(hours=1)))).tags("night")
print(Once, LegionError, Scheduler)
"""

WRONG = {
    "a public name": ("from celery_legion import Legoin", "Legoin"),
    "a word of the builder": ("from celery_legion import Legion\nLegion(None).call(print).hourli()", "hourli"),
    "an argument": ("from celery_legion import Legion\nLegion(None).push(5)", "push"),
    "what a decorated function takes": (
        "from celery_legion import scheduled\n@scheduled.hourly()\ndef f(x: int) -> None: ...\nf('1')",
        "int",
    ),
}


def check(argv: tuple[str, ...], code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "example.py").write_text(code)
    return subprocess.run([*argv, "example.py"], cwd=folder, capture_output=True, text=True, check=False, timeout=200)


@pytest.mark.parametrize("argv", [MYPY, PYRIGHT], ids=["mypy", "pyright"])
@pytest.mark.parametrize(
    "documents", [(*READ_TOGETHER[0], *NOT_RUN), *READ_TOGETHER[1:]], ids=lambda documents: documents[0]
)
def test_the_examples_of_the_documents_are_well_typed(
    argv: tuple[str, ...], documents: tuple[str, ...], tmp_path: Path
) -> None:
    done = check(argv, code_of(*documents), tmp_path)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("argv", [STRICT, PYRIGHT], ids=["mypy --strict", "pyright"])
def test_an_annotated_app_is_well_typed_and_its_functions_keep_their_types(
    argv: tuple[str, ...], tmp_path: Path
) -> None:
    done = check(argv, ANNOTATED, tmp_path)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("argv", [MYPY, PYRIGHT], ids=["mypy", "pyright"])
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_misspelt_is_found(argv: tuple[str, ...], wrong: str, tmp_path: Path) -> None:
    code, word = WRONG[wrong]
    done = check(argv, code, tmp_path)

    assert done.returncode == 1
    assert word in done.stdout


def test_no_module_takes_the_place_of_a_public_name_when_it_is_imported_first() -> None:
    modules = {path.stem for path in (ROOT / "celery_legion").iterdir()}

    assert modules.isdisjoint(celery_legion.__all__)


def test_every_public_name_is_imported_for_checkers_too() -> None:
    source = (ROOT / "celery_legion/__init__.py").read_text()
    shown = source[source.index("if TYPE_CHECKING:") : source.index("__version__ =")]

    assert [name for name in celery_legion.LAZY if name not in shown.replace(",", "").split()] == []
