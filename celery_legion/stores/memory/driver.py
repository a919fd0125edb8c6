"""The memory driver: all verbs together, and waking."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from celery_legion.stores.base import Retention
from celery_legion.stores.memory.hooking import Hooking
from celery_legion.stores.memory.reading import Reading
from celery_legion.stores.memory.running import Running
from celery_legion.stores.memory.scheduling import Scheduling


def system_time() -> datetime:
    """Return this machine's moment."""
    return datetime.now(UTC)


class MemoryStore(Scheduling, Hooking, Running, Reading):
    """A store within one process, whose time is what *now* returns: with one of their own, tests never sleep.

    Only :meth:`wait` takes real time.
    """

    def __init__(self, *, retention: Retention | None = None, now: Callable[[], datetime] = system_time) -> None:
        super().__init__(retention=retention or Retention(), now=now)
        self._heard = threading.local()

    def wake(self) -> None:
        """See :meth:`.WakingStore.wake`."""
        self.nudge()

    def wait(self, timeout: timedelta) -> bool:
        """See :meth:`.WakingStore.wait`. A nudge since this thread's last wait counts too."""
        with self.nudged:
            heard: int = getattr(self._heard, "nudges", self.nudges)
            nudged = self.nudged.wait_for(lambda: self.nudges > heard, max(0.0, timeout.total_seconds()))
            self._heard.nudges = self.nudges
            return nudged

    def hurried(self, worker: str, timeout: timedelta) -> bool:
        """See :meth:`.WakingStore.hurried`. A nudge since this thread's last call counts too."""

        def count() -> int:
            return self.hurries.get(worker, 0) + self.hurries.get(None, 0)

        with self.nudged:
            heard: int = getattr(self._heard, "hurries", count())
            hurried = self.nudged.wait_for(lambda: count() > heard, max(0.0, timeout.total_seconds()))
            self._heard.hurries = count()
            return hurried

    def ping(self) -> None:
        """See :meth:`.Store.ping`. This process always answers."""

    def warnings(self) -> list[str]:
        """See :meth:`.Store.warnings`."""
        return ["the store is this process's memory: no other process sees it; set legion_store_url to a shared one"]

    def forget_connections(self) -> None:
        """See :meth:`.Store.forget_connections`. There are none."""

    def close(self) -> None:
        """See :meth:`.Store.close`. What is stored stays, for the next who opens the same name."""
