"""The package's source: nothing is imported, built or executed by a name or a text that could come from outside."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import celery_legion

ROOT = Path(celery_legion.__file__).parent
NAMES = frozenset(
    {"eval", "exec", "compile", "__import__", "import_module", "symbol_by_name", "import_from_cwd", "import_object"}
    | {"instantiate", "maybe_evaluate", "locate", "find_class", "Unpickler", "entry_points"}
    | {"system", "Popen", "spawn", "execv", "execve", "execvp", "execvpe", "posix_spawn", "subprocess", "builtins"}
)
MODULES = frozenset(
    {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "yaml", "jsonpickle", "code", "runpy"}
    | {
        "importlib",
        "subprocess",
        "pydoc",
        "pkgutil",
        "billiard.reduction",
        "kombu.serialization",
        "celery.utils.imports",
    }
)
ALLOWED = {
    # A closed table of our own modules.
    "__init__.py": {"importlib", "import_module"},
    "cli/__init__.py": {"importlib", "import_module"},
    # The driver of the URL's scheme: from a closed table, else an installed package's entry point.
    "stores/__init__.py": {"importlib", "import_module", "importlib.metadata", "entry_points"},
    # The scripts that lie beside the driver.
    "stores/redis/scripts.py": {"importlib.resources"},
    # The Request class that a task of the app's own code names.
    "worker/request.py": {"celery.utils.imports", "symbol_by_name"},
    # The strategy that a task of the app's own code names.
    "worker/strategies.py": {"celery.utils.imports", "symbol_by_name"},
    # What the worker has imported, by the names that it hands to the processes that it spawns; its pipe for them.
    "worker/spawned.py": {"importlib", "import_module", "billiard.reduction"},
    # The credential provider that the settings' own URL names, as Celery takes it.
    "stores/redis/address.py": {"importlib", "import_module"},
    # Redis's command of that name, with a verb's script.
    "stores/redis/connection.py": {"eval"},
    # The server's binary; the processes of `dev`; the shim and the command of the registry's job.
    "embedded.py": {"importlib.util", "subprocess", "Popen"},
    "cli/dev_processes.py": {"subprocess", "Popen"},
    "worker/process.py": {"subprocess", "Popen"},
    "worker/shim.py": {"execvpe"},
}
"""File → what it may use all the same."""

FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))
STATE = [
    name for name in FILES if name.startswith(("stores/", "engine/")) or name in {"codec.py", "push.py", "header.py"}
]


def used(source: str) -> Iterator[str]:
    """Yield which of the names and modules a source uses, and ``shell`` where a process would be given to a shell."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names if _is_listed(alias.name))
            case ast.ImportFrom(module=str(module), names=names):
                yield from [module] if _is_listed(module) else ()
                yield from (alias.name for alias in names if alias.name in NAMES)
            case ast.Name(id=name) if name in NAMES:
                yield name
            case ast.Attribute(value=owner, attr=name) if name in NAMES:
                if not (name == "compile" and isinstance(owner, ast.Name) and owner.id == "re"):
                    yield name
            case ast.keyword(arg="shell", value=value) if not (isinstance(value, ast.Constant) and not value.value):
                yield "shell"


def _is_listed(module: str) -> bool:
    return any(module == one or module.startswith(f"{one}.") for one in MODULES)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", {"pickle"}),
        ("from importlib import import_module as load\nload(text)", {"importlib", "import_module"}),
        ("import os\nos.system(text)", {"system"}),
        ("from celery.utils import imports\nimports.symbol_by_name(text)", {"symbol_by_name"}),
        ("eval(text)", {"eval"}),
        ("run(text, shell=True)", {"shell"}),
        ("import re\nre.compile('x')\nrun(text, shell=False)", set()),
        ("compile(text, '', 'exec')", {"compile"}),
    ],
)
def test_what_is_looked_for_is_found(source: str, found: set[str]) -> None:
    assert set(used(source)) == found


@pytest.mark.parametrize("name", FILES)
def test_no_module_imports_or_executes_by_a_name_beyond_what_is_listed_here(name: str) -> None:
    assert set(used((ROOT / name).read_text())) == ALLOWED.get(name, set())


def test_the_modules_that_read_broker_and_store_are_among_them() -> None:
    assert len(STATE) > 20
    assert {name for name in STATE if name in ALLOWED} == {
        "stores/__init__.py",
        "stores/redis/address.py",
        "stores/redis/connection.py",
        "stores/redis/scripts.py",
    }
