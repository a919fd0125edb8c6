"""What belongs to one app: its settings, jobs, store and clock, made once and shared by every face."""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import replace
from datetime import timedelta
from typing import Any

from celery_legion.clock import Clock, SystemClock
from celery_legion.config import Config, read_settings
from celery_legion.registry import Registry
from celery_legion.stores import open_store
from celery_legion.stores.base import Retention, Store, StoreOptions

ATTRIBUTE = "legion_context"


class Context:
    """The parts of one app. Get it by :meth:`of`; settings are read and the store is opened at first use.

    Where ``Legion(app)`` does not stand in the app, its workers release no locks, so nothing may be guarded by one.
    """

    def __init__(self, app: Any, clock: Clock | None = None) -> None:
        self.app = app
        self.clock: Clock = clock or SystemClock()
        self.registry = Registry(app)
        self._config: Config | None = None
        self._store: Store | None = None
        self._injected = False
        self._opening = threading.Lock()
        _contexts.add(self)

    @classmethod
    def of(cls, app: Any) -> Context:
        """Return *app*'s context, made at the first call."""
        context: Context | None = getattr(app, ATTRIBUTE, None)
        if context is None:
            context = cls(app)
            setattr(app, ATTRIBUTE, context)
        return context

    @staticmethod
    def living() -> list[Context]:
        """Return the contexts of this process's apps."""
        return list(_contexts)

    @property
    def enabled(self) -> bool:
        """Whether ``Legion(app)`` stands in the app."""
        return self.registry.guarded

    @property
    def config(self) -> Config:
        """The settings, read once.

        Raises:
            ConfigurationError: A setting cannot work.
            UnknownSettingError: A ``legion_*`` key is no setting.
        """
        if self._config is None:
            self._config = Config.of(self.app)
        return self._config

    @property
    def store(self) -> Store:
        """The store, opened once a process without talking to it."""
        store = self._store
        if store is None:
            with self._opening:
                if self._store is None:
                    self._store = open_store(self.store_options)
                store = self._store
        return store

    @property
    def store_options(self) -> StoreOptions:
        """What the store is opened with."""
        config = self.config
        return StoreOptions(
            url=config.store_url,
            prefix=config.key_prefix,
            timeout=config.store_timeout,
            retention=Retention(
                size=config.ledger_size,
                total=config.ledger_total,
                age=config.ledger_age,
                dedup=config.dedup_age,
                output_total=config.output_total,
            ),
        )

    def fresh_store(self, timeout: timedelta) -> Store:
        """Return a store on connections of its own, each answer bounded by *timeout*.

        An injected store is returned itself.
        """
        if self._injected:
            return self.store
        return open_store(replace(self.store_options, timeout=timeout))

    def move_to(self, app: Any, config: Config | None) -> None:
        """Belong to *app* from now on, which Celery has in place of the present one in a spawned pool process.

        *config* are the settings that the worker runs with.
        """
        self.registry.move_to(app)
        self.app = app
        setattr(app, ATTRIBUTE, self)
        if config is not None:
            self._config = config

    @property
    def prefix_is_given(self) -> bool:
        """Whether the settings name the key prefix, so that it is not only made of the app's name."""
        return "key_prefix" in read_settings(self.app)

    def serve(self, prefix: str) -> None:
        """Use the keys under *prefix* from now on, in this process."""
        if prefix == self.config.key_prefix:
            return
        with self._opening:
            self._config = replace(self.config, key_prefix=prefix)
            if not self._injected:
                # Not closed: another thread may be talking to it.
                self._store = None

    def store_under(self, prefix: str, timeout: timedelta) -> Store:
        """Return a store on connections of its own that sees the keys under *prefix*."""
        return open_store(replace(self.store_options, prefix=prefix, timeout=timeout))

    def use_store(self, store: Store) -> None:
        """Use *store* instead of the one the settings name; for tests and embedding."""
        self._store = store
        self._injected = True

    def after_fork(self) -> None:
        """Forget what must not be shared with the parent process; nothing is talked to."""
        self._opening = threading.Lock()
        if self._store is not None:
            self._store.forget_connections()


_contexts: weakref.WeakSet[Context] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for context in list(_contexts):
        context.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
