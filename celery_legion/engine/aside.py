"""A thread aside: for calls that nothing bounds, so that one that hangs can be left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class HangsError(TimeoutError):
    """A call did not return in time; whether it took effect is unknown."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer within {seconds:g} s")


class Aside:
    """Runs calls one after another on one thread of its own, as clients want that belong to the thread they were made
    on.

    After a :class:`HangsError` the thread is still with the call that hangs, so nothing else should be asked of it.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # A daemon: a call that never returns must not keep the process from its end.
        self._thread = threading.Thread(target=self._work, name="legion-broker", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread has not ended, be it that it still waits or that a call hangs."""
        return self._thread.is_alive()

    def call(self, seconds: float, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Return what *function* returns, or raise what it raises.

        Raises:
            HangsError: It has done neither within *seconds*.
        """
        outcome: list[T] = []
        problem: list[BaseException] = []
        done = threading.Event()
        # What tracing and logging keep for the caller counts here too.
        context = copy_context()

        def work() -> None:
            try:
                outcome.append(context.run(function, *args, **kwargs))
            except BaseException as exc:
                problem.append(exc)
            finally:
                done.set()

        self._calls.put(work)
        if not done.wait(seconds):
            raise HangsError(seconds)
        if problem:
            raise problem[0]
        return outcome[0]

    def leave(self, function: Callable[[], object]) -> None:
        """Run *function* last, whenever that may be, and end the thread. Waits for nothing."""

        def work() -> None:
            function()

        self._calls.put(work)
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


class BoundedProducer:
    """A producer with which calls return in time by :meth:`run`; all else is the producer's own."""

    def __init__(self, producer: Any, aside: Aside, seconds: float) -> None:
        self._producer = producer
        self._aside = aside
        self._seconds = seconds

    def run(self, function: Callable[..., T], *args: Any) -> T:
        """Return what *function* returns, which may use the producer, its channel and connection.

        Raises:
            HangsError: It takes too long; whether a message was sent is unknown.
        """
        return self._aside.call(self._seconds, function, *args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)
