"""Strategies of tasks' own: what they do with a message is not Celery's way, and may pass by the gate."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from celery.utils.imports import symbol_by_name
from celery.worker import state
from celery.worker.strategy import default

from celery_legion.control import in_line
from celery_legion.header import KEY
from celery_legion.run import Reason, State
from celery_legion.stores.base import Outcome
from celery_legion.worker.acts import Act, End
from celery_legion.worker.current import raw_header
from celery_legion.worker.gate import Gate
from celery_legion.worker.requests import limited_requests, scheduled_requests, snapshot

logger = logging.getLogger(__name__)


class Strategies:
    """Follows the messages that a task's own strategy receives, such as one that collects them to execute them at once.

    A run whose message it neither executes, nor lets wait, as Celery's own does is unwatched from then on: its record
    ends as ``sent(unwatched)``, its lock is free, and nobody takes its message for lost. *write* takes that down.
    """

    def __init__(self, gate: Gate, write: Callable[[Act], object]) -> None:
        self.gate = gate
        self._write = write
        self._told: set[str] = set()

    def follow(self, consumer: Any) -> None:
        """Follow what the tasks of *consumer* receive by strategies of their own; called when those are built."""
        for name, task in list(consumer.app.tasks.items()):
            if symbol_by_name(task.Strategy) is not default and name in consumer.strategies:
                consumer.strategies[name] = self._followed(name, consumer, consumer.strategies[name])

    def _followed(self, name: str, consumer: Any, strategy: Callable[..., Any]) -> Callable[..., Any]:
        def receive(message: Any, *args: Any, **kwargs: Any) -> Any:
            headers = message.headers
            raw = raw_header(headers) if isinstance(headers, Mapping) else None
            if raw is None:
                return strategy(message, *args, **kwargs)
            made: list[Any] = []
            self.gate.making = made.append
            try:
                result = strategy(message, *args, **kwargs)
            finally:
                self.gate.making = None
            if not made:
                self.gate.receive()
            if not any(_is_celerys(consumer, request) for request in made):
                body = args[0] if args and isinstance(args[0], Mapping) else {}
                run_id = str(headers.get("id") or body.get("id"))
                self._let_go(name, run_id, [headers, *(request.request_dict for request in made)])
            return result

        return receive

    def _let_go(self, name: str, run_id: str, holders: list[Any]) -> None:
        """Let a run's message go its own way, as one that is no run of ours: it may still come to the gate."""
        for fields in holders:
            fields.pop(KEY, None)
            if isinstance(nested := fields.get("headers"), dict):
                nested.pop(KEY, None)
        if name not in self._told:
            self._told.add(name)
            text = "Task %s has a strategy of its own, past the gate: its runs may overlap, and end as sent(unwatched)"
            logger.warning(text, in_line(name))
        self._write(End(run_id, 0, Outcome(state=State.SENT, reason=Reason.UNWATCHED)))


def _is_celerys(consumer: Any, request: Any) -> bool:
    """Whether a request is dealt with, or waits, as Celery's own strategy does it."""
    if request.passage is not None or request.acknowledged or request in state.reserved_requests:
        return True
    if request in scheduled_requests or any(request is other for other in limited_requests(consumer)):
        return True
    # Before Celery 5.7 nothing but the timer knows what waits for its time.
    queue = getattr(getattr(consumer.timer, "schedule", None), "queue", ())
    entries = [waiting.entry for waiting in snapshot(queue)]
    return any(
        request in entry.args for entry in entries if entry.fun in (consumer.apply_eta_task, consumer._limit_post_eta)
    )
