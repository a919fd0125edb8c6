"""Pools that spawn their processes: how the app's schedule and the way home get into a fresh interpreter."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from billiard import context as billiard_context
from billiard.reduction import DupFd
from celery import signals
from celery.app.trace import build_tracer

from celery_legion.config import Config
from celery_legion.context import Context
from celery_legion.errors import LegionError
from celery_legion.worker import ATTRIBUTE, install
from celery_legion.worker.backlog import Backlog, WayHome

logger = logging.getLogger(__name__)

MAIN = ("__main__", "__mp_main__")
"""The program's own module, which a spawned process has as far as billiard has made it one."""

LIBRARIES = ("celery", "celery_legion", "kombu", "billiard")
"""Packages that know every app and make none."""


class Spawning:
    """Goes with the app to each process that is spawned for it, and becomes a :class:`Spawned` there.

    It stands among the app's fixups: Celery pickles those with the app, and calls them with the unpickled one. A
    forked process has inherited everything, and pickles nothing.
    """

    def __init__(self, context: Context, backlog: Backlog) -> None:
        self.context = context
        self.backlog = backlog

    def attach(self) -> None:
        """Take the place of an earlier worker's in the app."""
        app = self.context.app
        app.fixups = {*(one for one in app.fixups if not isinstance(one, Spawning)), self}

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # Whoever else pickles an app gives nothing of this process away.
        spawning = billiard_context.get_spawning_popen() is not None
        end = DupFd(self.backlog.end) if spawning else None
        app = self.context.app
        return Spawned, (place_of_app(app), self._modules(), self.context.config if spawning else None, end)

    def _modules(self) -> tuple[str, ...]:
        """Return the modules that the schedule was written down in."""
        registry = self.context.registry
        files = {place.rpartition(":")[0] for place in registry.places()}
        found = {name for name, module in list(sys.modules.items()) if getattr(module, "__file__", None) in files}
        found.update(registry.hook_modules())
        return tuple(sorted(name for name in found if name not in MAIN and name in sys.modules))


class Spawned:
    """What a spawned process was told, and does: it makes the unpickled app the one that its modules mean.

    Those make an app of their own, with ``Legion`` on it: Celery executes the tasks on the unpickled one.
    """

    def __init__(
        self, place: tuple[str, str] | None, modules: Iterable[str], config: Config | None, end: Any | None
    ) -> None:
        self.place, self.modules, self.config, self.end = place, tuple(modules), config, end

    def __call__(self, app: Any) -> Any:
        """Wait until Celery has this process ready; Celery calls this with each app that is unpickled."""
        if self.end is not None:
            signals.import_modules.connect(lambda **_: self._load(app), sender=app, weak=False)
            signals.worker_process_init.connect(lambda sender, **_: self._adopt(app, sender), weak=False)
        return self

    def _load(self, app: Any) -> None:
        """Import what the worker has imported, before Celery finalizes the app."""
        for module in (*self.modules, *(() if self.place is None else self.place[:1])):
            try:
                import_module(module)
            except Exception:
                logger.exception("Module %s of the schedule cannot be imported in a spawned pool process", module)
        made = self._made(app)
        if made is not app:
            # What it discovers, it discovers for itself alone.
            made.loader.import_default_modules()

    def _made(self, app: Any) -> Any:
        """Return the app that this process's modules have made; *app* itself if there is none."""
        if self.place is not None:
            made = getattr(sys.modules.get(self.place[0]), self.place[1], None)
            if getattr(made, ATTRIBUTE, None) is not None:
                return made
        named = [one for one in Context.living() if one.enabled and one.app is not app and one.app.main == app.main]
        return named[0].app if len(named) == 1 else app

    def _adopt(self, app: Any, hostname: str) -> None:
        made = self._made(app)
        context = Context.of(made)
        if made is app:
            logger.warning(
                "The app %r cannot be found in a spawned pool process, so its hooks and commands are not known there: "
                "give it a name in the module that makes it",
                app.main,
            )
            context.registry.guarded = True
            install(context)
        context.move_to(app, self.config)
        recorder = getattr(made, ATTRIBUTE)
        setattr(app, ATTRIBUTE, recorder)
        if self.end is not None:
            recorder.backlog = WayHome(self.end.detach())
        try:
            context.registry.register_tasks()
        except LegionError as exc:
            logger.error("%s", exc)
        for name, task in app.tasks.items():
            if task.__trace__ is None:
                task.__trace__ = build_tracer(name, task, app.loader, hostname, app=app)


def place_of_app(app: Any) -> tuple[str, str] | None:
    """Return a module of this process and its attribute that is *app*, None if there is none."""
    found = [
        (name, attribute)
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] not in LIBRARIES
        for attribute, value in list(getattr(module, "__dict__", {}).items())
        if value is app
    ]
    # The program's own module only where no other has it: not every program can be loaded as one.
    found.sort(key=lambda place: place[0] in MAIN)
    return found[0] if found else None
