"""Running hooks: right where a run ends, or as a task for what ended elsewhere."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import uuid4

from celery_legion.context import Context
from celery_legion.control import in_line
from celery_legion.errors import LegionError, StoreError
from celery_legion.hook import Hook, call_hook, hook_name
from celery_legion.run import State
from celery_legion.worker.acts import Paid, describe
from celery_legion.worker.current import CurrentRun, hooks_of

logger = logging.getLogger(__name__)


class HookRunner:
    """Calls the hooks of an app's jobs. ``asker`` names one execution of hooks to the store.

    *later* takes what the store has not heard, to tell it when it answers again.
    """

    def __init__(self, context: Context, later: Callable[[Paid], object]) -> None:
        self.context = context
        self._later = later

    def before(self, run: CurrentRun) -> str | None:
        """Call what is to be called before an attempt; return how it failed, None if it did not."""
        registry = self.context.registry
        return self._call(registry.hooks_of(registry.find(run.job)).before, run)

    def of(self, job: str, state: State) -> tuple[Hook, ...]:
        """Return what is to be called for an ending of *job* as *state*."""
        registry = self.context.registry
        return registry.hooks_of(registry.find(job)).of(state)

    def ended(self, run: CurrentRun, debt: str, asker: str) -> None:
        """Call the hooks of an ending, and pay the debt that it has left to *asker*."""
        with self._kept(debt, asker):
            error = self._call(self.of(run.job, run.state), run)
        try:
            self.context.store.hooked(debt, error)
        except StoreError as exc:
            logger.warning("That hooks of job %s have run is told later: %s", run.job, exc)
            self._later(Paid(debt, error))

    def pay(self, debt: str, job: str | None = None) -> bool:
        """Take a debt and call its hooks; False if nothing is owed any more, or another process is at it.

        A debt of a *job* that this worker does not know is not even taken.

        Raises:
            StoreUnavailableError: The store is silent; the debt is sent again.
        """
        if job is not None and not self._knows(job):
            return False
        asker = uuid4().hex
        taken = self.context.store.take(debt, asker, self.context.config.run_lease)
        if taken is None:
            return False
        if not self._knows(taken.record.job):
            return False
        self.ended(CurrentRun.of_record(taken.record, debt), debt, asker)
        return True

    def _knows(self, job: str) -> bool:
        known = self.context.registry.knows(job)
        if not known:
            # A worker of an older deployment, say. Another one may know it; the debt is sent again.
            logger.error("Hooks of job %s are not run: this worker knows no such job", in_line(job))
        return known

    def _call(self, hooks: Sequence[Hook], run: CurrentRun) -> str | None:
        problems = []
        with hooks_of(run):
            for hook in hooks:
                try:
                    call_hook(hook, run)
                except SystemExit as exc:
                    if isinstance(exc.code, int) and exc.code < 0:
                        # The pool's own: this process is being ended.
                        raise
                    problems.append(f"{hook_name(hook)}: {describe(exc)}")
                except LegionError as exc:
                    problems.append(f"{hook_name(hook)}: {exc}")
                    logger.error("A hook of job %s failed: %s", run.job, exc)
                except Exception as exc:
                    problems.append(f"{hook_name(hook)}: {describe(exc)}")
                    logger.exception("A hook of job %s failed: %s", run.job, hook_name(hook))
        return "; ".join(problems) or None

    @contextmanager
    def _kept(self, debt: str, asker: str) -> Iterator[None]:
        """Keep the debt from others for as long as this takes."""
        lease = self.context.config.run_lease
        over = threading.Event()

        def keep() -> None:
            while not over.wait(lease.total_seconds() / 3):
                try:
                    self.context.store.take(debt, asker, lease)
                except StoreError as exc:
                    logger.warning("A long hook is not announced for now: %s", exc)

        thread = threading.Thread(target=keep, name="legion-hooks", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
