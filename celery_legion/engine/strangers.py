"""Workers that do not know legion: what they execute, the store never hears of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set

from celery_legion.stores.base import WorkerInfo

SURE_FOR, WARY_FOR = 10.0, 300.0
"""Seconds for which an answer holds: that nobody strange serves a queue, and that somebody does.

That nobody answers holds for the first of them at first, since workers may be coming back with their broker, then for
twice as long each time, up to the second.
"""

Ask = Callable[[], Mapping[str, Set[str]]]
"""Asks all workers which queues they consume; who does not answer in time is missing."""


Count = Callable[[str], int | None]
"""Returns how many consumers the broker counts on a queue, None if it does not count."""


class Strangers:
    """Says whether a message that is missing may be in the hands of a worker that does not report.

    The workers are asked by Celery's remote control, all at once and for all queues, which takes a second; and they are
    compared with those that the store knows. Where those say that they answer none, since it is switched off or the
    broker cannot carry it, nobody's silence says anything: what they tell the store is taken for the whole truth,
    unless the broker counts more consumers.
    """

    def __init__(
        self,
        ask: Ask,
        known: Callable[[], Sequence[WorkerInfo]],
        monotonic: Callable[[], float],
        count: Count = lambda _: None,
    ) -> None:
        self._ask = ask
        self._count = count
        self._known = known
        self._monotonic = monotonic
        self._workers: dict[str, dict[str, WorkerInfo]] = {}
        self._answering: Mapping[str, Set[str]] = {}
        self._asked_at: float | None = None
        self._doubts: dict[str, tuple[float, str]] = {}
        self._unanswered: dict[str, float] = {}

    def doubt(self, queue: str) -> str | None:
        """Return why a message of *queue* may not be lost after all, None if it must be; asks again after a while.

        Raises:
            StoreUnavailableError: The store could not be asked.
        """
        until, known_doubt = self._doubts.get(queue, (0.0, None))
        if self._monotonic() < until:
            return known_doubt
        if self._asked_at is None or self._monotonic() >= self._asked_at + SURE_FOR:
            self._look()
        doubt, wary_for = self._judge(queue)
        if doubt is not None:
            self._doubts[queue] = (self._monotonic() + wary_for, doubt)
        return doubt

    def _look(self) -> None:
        # One that comes or goes meanwhile is known before or after.
        before = self._known()
        self._answering = self._ask()
        self._workers = defaultdict(dict)
        for worker in (*before, *self._known()):
            for queue in worker.queues:
                self._workers[queue][worker.name] = worker
        self._asked_at = self._monotonic()

    def _judge(self, queue: str) -> tuple[str | None, float]:
        """Return the doubt about a queue, and for how many seconds it holds."""
        known = self._workers.get(queue, {})
        answering = {name for name, queues in self._answering.items() if queue in queues}
        unanswered = self._unanswered.pop(queue, SURE_FOR)
        if strangers := sorted(answering - known.keys()):
            return f"worker {strangers[0]} of queue {queue} has no Legion(app) and may have it", WARY_FOR
        if not answering and known and not any(worker.remote for worker in known.values()):
            counted = self._count(queue)
            if counted is not None and counted > len(known):
                text = f"queue {queue} has {counted} consumers, of which {len(known)} are workers with Legion(app)"
                return f"{text}, and another may have it", WARY_FOR
            return None, 0.0
        if not answering:
            self._unanswered[queue] = min(2 * unanswered, WARY_FOR)
            text = f"no worker of queue {queue} answers Celery's remote control, so one without Legion(app) may have it"
            return text, unanswered
        return None, 0.0
