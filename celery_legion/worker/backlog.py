"""Acts that the store has not taken yet, kept by the worker's main process and delivered by its renewal thread."""

from __future__ import annotations

import logging
import os
import selectors
import time
import weakref
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from celery_legion.errors import StoreError, StoreUnavailableError
from celery_legion.stores.base import Retention, Store
from celery_legion.worker.acts import Act, Launch, News, dump, load

logger = logging.getLogger(__name__)

LIMIT = 10_000
TRIES = 10
"""How often an act that the store refuses (not: does not answer) is offered to it."""


class Home(Protocol):
    """Where acts go that the store has not taken: the worker's backlog, or a pool process's way to it."""

    @property
    def here(self) -> bool:
        """Whether this is the worker's main process."""
        ...

    def put(self, act: Act, after: timedelta = ...) -> None:
        """Keep *act* and deliver it, not before *after*."""
        ...

    def hand_over(self, news: News) -> bool:
        """Give *news* to the main process; False if that takes no more."""
        ...


class WayHome:
    """A spawned pool process's way to the backlog of its worker: the pipe's end that it was started with."""

    here = False

    def __init__(self, end: int) -> None:
        os.set_inheritable(end, False)
        self._end = end

    def put(self, act: Act, after: timedelta = timedelta(0)) -> None:
        """Let the main process have it at once; only that can wait."""
        self.hand_over(act)

    def hand_over(self, news: News) -> bool:
        """Give *news* to the main process; False if that takes no more."""
        return _write(self._end, news)


def _write(end: int, news: News) -> bool:
    line = dump(news)
    try:
        return os.write(end, line) == len(line)
    except OSError:
        return False


@dataclass(slots=True, eq=False)
class _Entry:
    act: Act
    due: float
    refused: int = 0


class Backlog:
    """Takes acts from anywhere in the main process, a signal handler included, and from pool children.

    Children write to a pipe that they inherit, so it must be made before the pool starts. Only :meth:`wait`,
    :meth:`deliver` and :meth:`take_launches` belong to one thread.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._read, self._write = os.pipe()
        for end in (self._read, self._write):
            os.set_blocking(end, False)
            weakref.finalize(self, os.close, end).atexit = False
        self._new: deque[_Entry] = deque()
        self._entries: list[_Entry] = []
        self._half = b""
        self.launches: list[Launch] = []

    @property
    def here(self) -> bool:
        """Whether this is the process that made it, not a forked child."""
        return os.getpid() == self.pid

    def put(self, act: Act, after: timedelta = timedelta(0)) -> None:
        """Keep *act* and deliver it soon, or not before *after*: an end that a better-informed one may precede."""
        self._new.append(_Entry(act, time.monotonic() + after.total_seconds()))
        self.wake()

    def hand_over(self, news: News) -> bool:
        """Give *news* from a child to the main process; False if that takes no more."""
        return _write(self._write, news)

    @property
    def end(self) -> int:
        """The pipe's end that pool processes write to; one that is spawned is given it."""
        return self._write

    def wake(self) -> None:
        """End the current :meth:`wait`."""
        # A full pipe wakes as well.
        with suppress(OSError):
            os.write(self._write, b"\n")

    def wait(self, seconds: float) -> None:
        """Block until something is put or handed over, or for *seconds*."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._read, selectors.EVENT_READ)
            selector.select(max(0.0, seconds))

    def due_in(self) -> float | None:
        """Return the seconds until the next act is due, None if there is none."""
        if not self._entries:
            return None
        return max(0.0, min(entry.due for entry in self._entries) - time.monotonic())

    def deliver(self, store: Store, retention: Retention, everything: bool = False) -> int:
        """Offer what is due (or *everything*) to the store, in order; returns how many acts are left.

        Raises:
            StoreUnavailableError: The store is silent; what it has not taken is kept.
        """
        self._collect()
        now = time.monotonic()
        for entry in list(self._entries):
            if not everything and entry.due > now:
                continue
            try:
                entry.act.apply(store, retention)
            except StoreUnavailableError:
                raise
            except StoreError as exc:
                entry.refused += 1
                entry.due = now + entry.refused
                if entry.refused < TRIES:
                    continue
                logger.error("The end of run %s is not recorded: %s", entry.act.run_id, exc)
            self._entries.remove(entry)
        return len(self._entries)

    def _collect(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._read, selectors.EVENT_READ)
            # Only what is there: where eventlet has patched it, a read of an empty pipe waits although it may not.
            while selector.select(0):
                *lines, self._half = (self._half + os.read(self._read, 65536)).split(b"\n")
                for line in lines:
                    if line:
                        self._read_line(line)
        while self._new:
            self._entries.append(self._new.popleft())
        if len(self._entries) > LIMIT:
            dropped = len(self._entries) - LIMIT
            del self._entries[:dropped]
            logger.error("The store has been silent for so long that the ends of %d runs were dropped", dropped)

    def _read_line(self, line: bytes) -> None:
        try:
            news = load(line)
        except ValueError as exc:
            logger.error("A pool process handed over something that says nothing of a run: %s", exc)
            return
        if isinstance(news, Launch):
            self.launches.append(news)
        else:
            self._new.append(_Entry(news, time.monotonic()))

    def take_launches(self) -> list[Launch]:
        """Return the commands that were launched since this was last asked."""
        launches, self.launches = self.launches, []
        return launches
