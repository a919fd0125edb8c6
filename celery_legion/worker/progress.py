"""Progress: what a run has written so far, told to the store while it goes on, for those who look."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from celery_legion.context import Context
from celery_legion.errors import StoreError
from celery_legion.worker.current import CurrentRun

logger = logging.getLogger(__name__)

EVERY = timedelta(seconds=0.5)
"""How long what was written may wait until the store is told; a run that is shorter tells it at its end alone."""

SILENT = timedelta(seconds=10)
"""How long the store is left alone when it did not answer."""


class Progress:
    """Tells the store the tail of one run's output, a while after something was written.

    *tail* returns it. A store that does not answer is no matter: the end brings the output in any case.
    """

    def __init__(self, context: Context, run: CurrentRun, tail: Callable[[], str | None]) -> None:
        self._context, self._run, self._tail = context, run, tail
        self._pid = os.getpid()
        self._timer: threading.Timer | None = None
        self._starting = threading.Lock()
        self._pause = EVERY
        self._closed = False

    def note(self) -> None:
        """Say that something was written. Called inside a task's own ``print``, so nothing of it may raise or wait."""
        # A process that the task has forked has a tail of its own, which is not the run's.
        if self._timer is not None or self._closed or self._pid != os.getpid():
            return
        if not self._starting.acquire(blocking=False):
            return
        try:
            if self._timer is None:
                timer = threading.Timer(self._pause.total_seconds(), self._tell)
                timer.daemon = True
                # No more threads are to be had: then the end alone brings the output.
                with suppress(RuntimeError):
                    timer.start()
                    self._timer = timer
        finally:
            self._starting.release()

    def close(self) -> None:
        """Stop; what is being told while this is called comes before the end, or is refused by the store."""
        self._closed = True
        timer = self._timer
        if timer is not None:
            timer.cancel()

    def _tell(self) -> None:
        # What is written from now on is another time's.
        self._timer = None
        if self._closed:
            return
        try:
            self._context.store.progress(self._run.id, self._run.token, self._tail() or "")
            self._pause = EVERY
        except StoreError as exc:
            logger.debug("The output of run %s so far is not told: %s", self._run.id, exc)
            self._pause = SILENT
            self.note()
