"""Receipts: which runs' messages a worker has received of which Celery's books of requests know nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from celery.utils.imports import symbol_by_name
from celery.worker.strategy import default

from celery_legion.worker.current import raw_header


class Receipts:
    """Notes the messages of tasks with a strategy of their own: these make their own requests, or gather messages.

    A message that is in such hands is on no list of Celery's, and one that was acknowledged there has not begun for
    all that the store knows: without the worker's word for it both would be taken for lost. *receive* is called for
    each; what was acknowledged is told for *memory* seconds.
    """

    def __init__(self, receive: Callable[[], object], memory: float) -> None:
        self._receive = receive
        self._memory = memory
        self._messages: dict[str, Any] = {}
        self._gone: dict[str, float] = {}

    def watch(self, consumer: Any) -> None:
        """Note what the strategies receive that *consumer* has just built."""
        # What was received on an earlier connection will be delivered again.
        self._messages.clear()
        for name, strategy in list(consumer.strategies.items()):
            task = consumer.app.tasks.get(name)
            if task is not None and symbol_by_name(task.Strategy) is not default:
                consumer.strategies[name] = partial(self._take, strategy)

    def _take(self, strategy: Callable[..., Any], message: Any, *args: Any, **kwargs: Any) -> Any:
        self._receive()
        headers, properties = message.headers or {}, message.properties or {}
        run_id = headers.get("id") or properties.get("correlation_id")
        if isinstance(run_id, str) and raw_header(headers) is not None:
            self._messages[run_id] = message
        return strategy(message, *args, **kwargs)

    def count(self) -> int:
        """Return how many messages are held."""
        return len(self.held())

    def held(self) -> list[str]:
        """Return the ids of the runs whose messages are held and not acknowledged."""
        now = time.monotonic()
        for run_id, message in list(self._messages.items()):
            if message.acknowledged:
                self._messages.pop(run_id, None)
                self._gone[run_id] = now
        return list(self._messages)

    def gone(self) -> list[str]:
        """Return the ids of the runs whose messages were received, and acknowledged a while ago at most."""
        self.held()
        now = time.monotonic()
        self._gone = {run_id: at for run_id, at in self._gone.items() if now - at < self._memory}
        return list(self._gone)
