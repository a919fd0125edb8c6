"""What goes with an app to a spawned pool process, and to nobody else."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from celery import Celery

from celery_legion import Legion
from celery_legion.context import Context
from celery_legion.target import Target
from celery_legion.worker.backlog import Backlog
from celery_legion.worker.spawned import Spawned, Spawning, place_of_app


@pytest.fixture
def app() -> Iterator[Any]:
    app = Celery("spawning", broker="memory://", set_as_current=False)
    app.conf.update(legion_store_url="redis://user:secret@localhost/3", legion_key_prefix="spawning")
    Legion(app)
    module = ModuleType("spawning_app")
    vars(module)["made"] = app
    sys.modules["spawning_app"] = module
    yield app
    del sys.modules["spawning_app"]


def nothing() -> None: ...


def rides(app: Any) -> list[Any]:
    return [one for one in app.fixups if isinstance(one, (Spawning, Spawned))]


def test_an_app_is_found_by_a_module_and_a_name(app: Any) -> None:
    assert place_of_app(app) == ("spawning_app", "made")
    assert place_of_app(Celery("nowhere", set_as_current=False)) is None


def test_the_programs_own_module_is_taken_last(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "made", app, raising=False)
    assert place_of_app(app) == ("spawning_app", "made")
    monkeypatch.delattr(sys.modules["spawning_app"], "made")
    assert place_of_app(app) == ("__main__", "made")


def test_a_worker_that_starts_again_in_a_process_takes_the_place_of_the_last(app: Any) -> None:
    context = Context.of(app)
    first, second = Spawning(context, Backlog()), Spawning(context, Backlog())
    fixups = set(app.fixups)
    first.attach()
    second.attach()
    assert app.fixups == {*fixups, second}


def test_whoever_else_pickles_the_app_gets_neither_settings_nor_a_way_home(app: Any) -> None:
    Spawning(Context.of(app), Backlog()).attach()
    copy = pickle.loads(pickle.dumps(app))
    [ride] = rides(copy)
    assert (ride.config, ride.end) == (None, None)
    assert ride.place == ("spawning_app", "made")
    assert vars(copy).get("legion_context") is None


def test_a_moved_context_belongs_to_the_new_app_and_keeps_its_jobs(app: Any) -> None:
    own = app.task(name="own", shared=False, lazy=False)(nothing)
    legion = Legion(app)
    legion.task(own).name("nightly").daily()
    context, other = Context.of(app), Celery("spawning", set_as_current=False)
    other.conf.update(app.conf.changes)
    config = context.config
    context.move_to(other, config)
    assert Context.of(other) is Context.of(app) is context
    assert context.app is other
    assert context.config is config
    assert context.registry.find("nightly") is not None
    assert legion.jobs["nightly"].action.task == "own"


@pytest.mark.parametrize("name", ["shop", None])
def test_what_stands_in_the_program_itself_is_called_the_same_in_a_spawned_process(name: str | None) -> None:
    def sweep() -> None: ...

    sweep.__qualname__ = "sweep"
    names = []
    for module in ("__main__", "__mp_main__"):
        sweep.__module__ = module
        app = Celery(name, broker="memory://", set_as_current=False)
        names.append(Target(sweep, "here:1").action(app, None).task)
    assert names == [f"{name or '__main__'}.sweep"] * 2
