"""Stores: where locks, leases, claims, inbox, state and ledger live."""

from __future__ import annotations

from importlib import import_module

from celery_legion.errors import ConfigurationError
from celery_legion.stores.base import Store, StoreOptions
from celery_legion.url import safe_url

DRIVERS = {
    "redis": "celery_legion.stores.redis",
    "rediss": "celery_legion.stores.redis",
    "valkey": "celery_legion.stores.redis",
    "valkeys": "celery_legion.stores.redis",
    "redis+socket": "celery_legion.stores.redis",
    "unix": "celery_legion.stores.redis",
    "memory": "celery_legion.stores.memory",
}
"""URL scheme → module whose ``open_store(options)`` returns a store. Loaded only when asked for."""

ENTRY_POINTS = "celery_legion.stores"


def open_store(options: StoreOptions) -> Store:
    """Return the store that ``options.url`` names, without talking to it.

    A third party adds a scheme by an entry point of the group ``celery_legion.stores`` that
    loads such a function.

    Raises:
        ConfigurationError: No driver knows the URL's scheme, or its driver does not take the URL.
    """
    # Not by urlsplit, which raises for a host that is none, with the whole text.
    scheme = options.url.partition(":")[0].lower()
    if scheme in DRIVERS:
        store: Store = import_module(DRIVERS[scheme]).open_store(options)
        return store
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS, name=scheme):
        driver: Store = point.load()(options)
        return driver
    known = ", ".join(sorted(DRIVERS))
    raise ConfigurationError("legion_store_url", f"a URL with one of the schemes {known}", safe_url(options.url))
