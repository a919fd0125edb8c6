"""``Legion(app)``: the one line that turns the rest on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from celery import signals

from celery_legion import misstart
from celery_legion.builder import Builder
from celery_legion.command_builder import CommandBuilder, CommandTarget
from celery_legion.config import hide_password
from celery_legion.context import Context
from celery_legion.duration import Duration
from celery_legion.errors import InvalidJobError, LegionError
from celery_legion.hook import is_callable_so
from celery_legion.interruption import GRACE, Interrupted, interrupt
from celery_legion.job import NOTHING, Job
from celery_legion.pushing import push
from celery_legion.target import ENABLED, Target, place_of_caller
from celery_legion.worker import install

F = TypeVar("F", bound=Callable[[], object])
H = TypeVar("H", bound=Callable[..., object])


class Legion:
    """The schedule of one app. Made twice for an app, it is another face of the same schedule.

    Making it starts and opens nothing: workers begin with their consumer, schedulers with their first pass.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.context = Context.of(app)
        if not self.context.registry.guarded:
            self.context.registry.guarded = True
            setattr(app, ENABLED, True)
            app.on_after_configure.connect(_mask_password, weak=False)
            misstart.watch()
        install(self.context)

    @property
    def jobs(self) -> Mapping[str, Job]:
        """All jobs by name.

        Raises:
            LegionError: A setting or a job cannot work.
        """
        return self.context.registry.jobs

    def call(self, target: Any, /, *args: Any, **kwargs: Any) -> Builder:
        """Put a callable, a Celery task or a signature on the schedule, with its arguments.

        A lambda or a nested function needs a ``.name()``. What is called must be importable by the workers.
        """
        return self._add(Target(target, place_of_caller(), args, kwargs))

    def task(self, task: Any, /, args: Iterable[Any] = (), kwargs: Mapping[str, Any] = NOTHING) -> Builder:
        """Put a Celery task on the schedule: by its name, itself, or as a signature."""
        return self._add(Target(task, place_of_caller(), tuple(args), kwargs))

    def command(self, line: str | Sequence[str], /) -> CommandBuilder:
        """Put a command on the schedule: text for ``/bin/sh``, or a list that is executed without a shell.

        A worker executes it, as a message that names the job and nothing more; what is executed comes from the
        worker's own code. Without a ``.name()`` the job is named by its program and a digest of the line.
        """
        builder = CommandBuilder(CommandTarget(line, place_of_caller()))
        self.context.registry.add(builder)
        return builder

    def before(self, hook: H) -> H:
        """Call *hook* before each attempt of every job; see ``Builder.before``."""
        return self._hook("before", hook)

    def on_success(self, hook: H) -> H:
        """Call *hook* for each run of every job that has succeeded."""
        return self._hook("on_success", hook)

    def on_failure(self, hook: H) -> H:
        """Call *hook* for each run of every job that has failed, was interrupted, got lost, or expired."""
        return self._hook("on_failure", hook)

    def after(self, hook: H) -> H:
        """Call *hook* for each run of every job that has ended, however that was."""
        return self._hook("after", hook)

    def on_skipped(self, hook: H) -> H:
        """Call *hook* for fires of every job that were skipped."""
        return self._hook("on_skipped", hook)

    def on_missed(self, hook: H) -> H:
        """Call *hook* for fires of every job that were missed."""
        return self._hook("on_missed", hook)

    def _hook(self, name: str, hook: H) -> H:
        if not callable(hook) or not is_callable_so(hook):
            problem = (
                f"{name} cannot call {hook!r} with the run alone; give a function of one argument, the run, or of none"
            )
            raise InvalidJobError("*", problem)
        registry = self.context.registry
        registry.hooks = registry.hooks.plus(name, hook)
        return hook

    def on_enable(self, function: F) -> F:
        """Call *function* once, late: before the schedule is first read, and in workers before they consume."""
        self.context.registry.on_enable(function)
        return function

    def interrupt(
        self, target: str, *, signal: int | str = "TERM", grace: Duration = GRACE, wait: Duration | None = None
    ) -> list[Interrupted]:
        """Ask for the end of a run (by its id), of a job's open runs, or of the run of a process, and wait for it.

        What runs gets *signal*, and SIGKILL after *grace*; see ``celery_legion.interruption.interrupt``.

        Raises:
            UnknownRunError: Nothing is called so.
            StoreUnavailableError: The store does not answer.
        """
        return interrupt(self.context, target, signal=signal, grace=grace, wait=wait)

    def push(self, job: str, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] = NOTHING) -> str:
        """Ask for a run of *job* now; returns the id that the run will have.

        *args* take the place of the job's own (None leaves those), *kwargs* are laid over its own. The running
        scheduler sends it; without one it waits in the inbox.

        Raises:
            UnknownJobError: No job is named so.
            PushError: The arguments cannot be JSON, or the job is a command, which takes none.
            StoreUnavailableError: The store does not answer.
        """
        return push(self.context, job, args, kwargs)

    def autodiscover(
        self, packages: Iterable[str] | Callable[[], Iterable[str]] | None = None, related_name: str | None = None
    ) -> None:
        """Load the modules *related_name* of *packages* where tasks are loaded.

        Without *related_name*, those that ``legion_modules`` names. No packages means what Celery's
        ``autodiscover_tasks`` takes it for: the packages of the fixup, Django's apps say.
        """

        def load(**_: Any) -> None:
            # The settings are read now, not when the app's module is imported.
            for module in self.context.config.modules if related_name is None else (related_name,):
                self.app.autodiscover_tasks(packages, related_name=module, force=True)

        signals.import_modules.connect(load, weak=False, sender=self.app)

    def _add(self, target: Target) -> Builder:
        builder = Builder(target)
        self.context.registry.add(builder)
        return builder


def _mask_password(sender: Any, **_: Any) -> None:
    """Mask a password in the settings before ``celery report`` lists them."""
    # A wrong setting is refused where settings are read; a web process need not hear of it.
    with suppress(LegionError):
        hide_password(sender)
