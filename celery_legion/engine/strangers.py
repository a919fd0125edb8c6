"""Workers that do not know legion: what they execute, the store never hears of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set

from celery_legion.stores.base import WorkerInfo

SURE_FOR, WARY_FOR = 10.0, 300.0
"""Seconds for which an answer holds: that nobody strange serves a queue, and that somebody does, or cannot be asked."""

Ask = Callable[[], Mapping[str, Set[str]]]
"""Asks all workers which queues they consume; who does not answer in time is missing."""


class Strangers:
    """Says whether a message that is missing may be in the hands of a worker that does not report.

    The workers of a queue are asked by Celery's remote control, and compared with those that the store knows.
    """

    def __init__(self, ask: Ask, known: Callable[[], Sequence[WorkerInfo]], monotonic: Callable[[], float]) -> None:
        self._ask = ask
        self._known = known
        self._monotonic = monotonic
        self._answers: dict[str, tuple[float, str | None]] = {}

    def doubt(self, queue: str) -> str | None:
        """Return why a message of *queue* may not be lost after all, None if it must be; asks again after a while.

        Raises:
            StoreUnavailableError: The store could not be asked.
        """
        until, doubt = self._answers.get(queue, (0.0, None))
        if self._monotonic() >= until:
            doubt = self._look(queue)
            self._answers[queue] = (self._monotonic() + (SURE_FOR if doubt is None else WARY_FOR), doubt)
        return doubt

    def _look(self, queue: str) -> str | None:
        known = {worker.name for worker in self._known() if queue in worker.queues}
        answering = {name for name, queues in self._ask().items() if queue in queues}
        if strangers := sorted(answering - known):
            return f"worker {strangers[0]} of queue {queue} has no Legion(app) and may have it"
        if not answering:
            return f"no worker of queue {queue} answers Celery's remote control, so one without Legion(app) may have it"
        return None
