"""The consumer's bootstep: puts gate, recorder and renewal into a worker, and hands back what it leaves."""

from __future__ import annotations

import logging
import os
import weakref
from typing import Any

import click
from celery.bootsteps import StartStopStep

from celery_legion.context import Context
from celery_legion.errors import LegionError
from celery_legion.worker import ATTRIBUTE
from celery_legion.worker.backlog import Backlog
from celery_legion.worker.begun import BegunRuns
from celery_legion.worker.commands import Commands
from celery_legion.worker.gate import Gate
from celery_legion.worker.hurrying import Listener
from celery_legion.worker.keyspace import PATIENCE
from celery_legion.worker.renewal import Renewer
from celery_legion.worker.request import Guard
from celery_legion.worker.spawned import Spawning
from celery_legion.worker.strategies import Strategies

logger = logging.getLogger(__name__)


class WorkerStep(StartStopStep):
    """Made before the pool forks, started after the consumer's tasks, told of the shutdown when the pool has ended.

    A consumer that loses its broker stops and starts its steps; runs go on meanwhile, and so does their renewal.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        app = consumer.app
        self.context = Context.of(app)
        # Here, so that the pool's processes inherit both.
        self._check()
        self.context.registry.register_tasks()
        Commands(self.context).check(logger)
        self.backlog = Backlog()
        begun = BegunRuns()
        recorder = getattr(app, ATTRIBUTE)
        recorder.backlog, recorder.begun = self.backlog, begun
        Spawning(self.context, self.backlog).attach()
        self.renewer = Renewer(self.context, self.backlog, begun)
        self.listener = Listener(lambda: self.context.store, self.renewer.hurry)
        patience = min(PATIENCE, self.context.config.store_timeout)
        self.gate = Gate(self.context, self.context.fresh_store(patience), begun)
        self.gate.consumer = consumer
        self.gate.kill_later = self.renewer.kill_later
        self.gate.hurry = self.renewer.hurry
        self.gate.receive = self.renewer.idling.receive
        _gates.add(self.gate)
        self._wrap(consumer, Guard(self.gate, recorder), Strategies(self.gate, self.backlog.put))

    def _check(self) -> None:
        """End the worker where a setting cannot work: with one line from a command line, else by raising."""
        try:
            _ = self.context.store_options
        except LegionError as exc:
            if click.get_current_context(silent=True) is None:
                # In a test suite, say, which a SystemExit would tell nothing.
                raise
            logger.critical("%s", exc)
            raise SystemExit(exc.exit_code) from exc

    def _wrap(self, consumer: Any, guard: Guard, strategies: Strategies) -> None:
        """Guard the tasks each time the consumer builds its strategies, which hold on to the Request classes."""
        update_strategies = consumer.update_strategies

        def update_guarded() -> None:
            guard.apply(consumer.app.tasks)
            update_strategies()
            self.renewer.receipts.watch(consumer)
            strategies.follow(consumer)

        consumer.update_strategies = update_guarded

    def start(self, consumer: Any) -> None:
        """Start renewing, the first time."""
        self.renewer.start(consumer)
        self.listener.start(consumer.hostname)

    def stop(self, consumer: Any) -> None:
        """Do nothing: it is called for each lost connection, too, and while the pool still works."""

    def terminate(self, consumer: Any) -> None:
        """Do nothing, as :meth:`stop`."""

    def shutdown(self, consumer: Any) -> None:
        """Record the last ends, then hand back what can be delivered again, before the broker has its messages."""
        self.listener.stop()
        self.renewer.stop(2 * self.context.config.store_timeout.total_seconds() + 1)
        try:
            ids = self.context.store.hand_back(consumer.hostname, os.getpid(), self.renewer.begun.tokens())
        except Exception as exc:
            logger.warning("What this worker has begun is not handed back; its leases will run out: %s", exc)
            return
        if ids:
            logger.info("Handed back to be begun elsewhere: %s", ", ".join(ids))


_gates: weakref.WeakSet[Gate] = weakref.WeakSet()


def _forget_in_child() -> None:
    for gate in list(_gates):
        forget = getattr(gate.store, "forget_connections", None)
        if forget is not None:
            forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
