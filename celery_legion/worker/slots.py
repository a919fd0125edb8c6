"""Waiting for a slot of the pool, where Celery's own loop gives a pool more than it has slots."""

from __future__ import annotations

from typing import Any


def wait_for_slot(pool: Any) -> None:
    """Block until *pool* has a slot, where handing a task to a full pool blocks anyway.

    A worker with an event loop has reserved the slot before it comes to this. Without one (transports that know
    none, green pools) it hands over what it has received, and hangs in that: asked before, a run would be called
    running, and its start judged, long before it starts.
    """
    slots = getattr(pool, "_pool", None)
    if getattr(pool, "is_green", False):
        wait = getattr(slots, "wait_available", None)
        if wait is not None:
            wait()
            return
        semaphore = getattr(slots, "sem", None)
    else:
        semaphore = getattr(slots, "_putlock", None) if getattr(pool, "putlocks", False) else None
    if semaphore is not None:
        semaphore.acquire()
        semaphore.release()
