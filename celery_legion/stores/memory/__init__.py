"""The store in memory: for tests, within one process."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from celery_legion.stores.base import Store, StoreOptions
from celery_legion.stores.memory.driver import MemoryStore

__all__ = ["MemoryStore", "open_store"]

_STORES: dict[tuple[str, str], MemoryStore] = {}

if hasattr(os, "register_at_fork"):
    # The copy in a child may hold its lock for ever, and nobody would see what is written to it.
    os.register_at_fork(after_in_child=_STORES.clear)


def open_store(options: StoreOptions) -> Store:
    """Return the store of ``memory://name`` and the prefix: always the same one within a process.

    The retention is that of the first who opened it.
    """
    key = (urlsplit(options.url).netloc, options.prefix)
    return _STORES.setdefault(key, MemoryStore(retention=options.retention))
