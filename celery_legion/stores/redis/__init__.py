"""The store on Redis or Valkey (6.2 and later): every verb one Lua script."""

from __future__ import annotations

from celery_legion.stores.base import StoreOptions
from celery_legion.stores.redis.driver import RedisStore

__all__ = ["RedisStore", "open_store"]


def open_store(options: StoreOptions) -> RedisStore:
    """Return a store on the server that ``options.url`` names, without talking to it."""
    return RedisStore(options)
