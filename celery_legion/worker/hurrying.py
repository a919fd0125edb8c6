"""The thread of the worker's main process that listens for what cannot wait for the next renewal."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

logger = logging.getLogger(__name__)

TURN = timedelta(seconds=5)
"""How long it listens at a time; a thread that shall end does so within."""


class Caller(Protocol):
    """The store, as far as this thread knows it."""

    def hurried(self, worker: str, timeout: timedelta) -> bool:
        """See :meth:`.WakingStore.hurried`."""
        ...


class Listener:
    """Calls *hurry* when somebody hurries the worker through the store; nothing depends on it but how soon.

    A thread of its own, since renewals wait for the worker's own processes; *store* returns the store anew each time.
    """

    def __init__(self, store: Callable[[], Caller], hurry: Callable[[], object]) -> None:
        self._store = store
        self._hurry = hurry
        self._thread: threading.Thread | None = None
        self._closing = False

    def start(self, worker: str) -> None:
        """Listen for *worker*; a thread that runs already goes on."""
        if self._thread is None:
            self._closing = False
            self._thread = threading.Thread(target=self._run, args=(worker,), name="legion-hurry", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Listen no more, from the end of this turn on; nobody waits for it."""
        self._closing, self._thread = True, None

    def _run(self, worker: str) -> None:
        while not self._closing:
            try:
                called = self._store().hurried(worker, TURN)
            except Exception as exc:
                logger.debug("Nobody can hurry this worker for now: %r", exc)
                time.sleep(TURN.total_seconds())
                continue
            if called and not self._closing:
                self._hurry()
