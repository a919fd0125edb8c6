"""Progress: what a run has written so far, told to the store while it goes on, for those who look."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
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
        self._timer: threading.Timer | None = None
        self._pause = EVERY
        self._closed = False

    def note(self) -> None:
        """Say that something was written."""
        if self._timer is None and not self._closed:
            self._timer = threading.Timer(self._pause.total_seconds(), self._tell)
            self._timer.daemon = True
            self._timer.start()

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
