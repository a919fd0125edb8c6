"""The thread of the worker's main process that keeps leases alive and delivers what the store has not taken yet."""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from celery.concurrency.solo import TaskPool as SoloPool
from celery.worker import state

from celery_legion.context import Context
from celery_legion.errors import StoreError, StoreUnavailableError
from celery_legion.run import State
from celery_legion.stores.base import Kept, Renewal, WorkerInfo
from celery_legion.worker.backlog import Backlog
from celery_legion.worker.begun import Begun, BegunRuns
from celery_legion.worker.current import raw_header
from celery_legion.worker.idling import Idling
from celery_legion.worker.interrupting import Interrupter
from celery_legion.worker.onlooker import Onlooker
from celery_legion.worker.receipts import Receipts
from celery_legion.worker.requests import limited_requests, scheduled_requests, snapshot
from celery_legion.worker.succession import read_part

logger = logging.getLogger(__name__)

BATCH = 200
"""Most runs renewed in one call of the store."""

GLANCE = 1.0
"""Seconds before a renewal at which a worker looks first whether it is idle; less for a short lease."""

AGAIN = 1.0
"""Seconds until a silent store is asked again."""


class Renewer:
    """Renews three times a lease; works where the worker's loop is blocked by a task, as in a solo pool."""

    def __init__(self, context: Context, backlog: Backlog, begun: BegunRuns) -> None:
        self.interrupter = Interrupter(context, begun)
        self.context = context
        self.backlog = backlog
        self.begun = begun
        self._third = context.config.run_lease.total_seconds() / 3
        self.onlooker = Onlooker(context)
        self.receipts = Receipts(lambda: self.idling.receive(), context.config.run_lease.total_seconds())
        self.idling = Idling(min(GLANCE, self._third / 2), self.receipts.count)
        self._remote = True
        self.consumer: Any = None
        self._thread: threading.Thread | None = None
        self._closing = False
        self._silent = False
        self._hurried = False

    def start(self, consumer: Any) -> None:
        """Renew for *consumer*; a thread that runs already goes on."""
        self.consumer = consumer
        self._remote = answers_remotely(consumer)
        self.interrupter.attach(consumer)
        if self._thread is None:
            self._closing = False
            self.onlooker.connect()
            self._thread = threading.Thread(target=self._run, name="legion-renewal", daemon=True)
            self._thread.start()

    def hurry(self) -> None:
        """Renew now; callable from any thread."""
        self._hurried = True
        self.backlog.wake()

    def kill_later(self, seconds: float, pool: Any, pid: int, job: Any) -> None:
        """Kill a pool process in *seconds*, if it is at *job* then; callable from any thread."""
        self.interrupter.kill_later(seconds, pool, pid, job)
        self.backlog.wake()

    def stop(self, timeout: float) -> None:
        """Deliver once more what is left and stop, within *timeout* seconds."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._closing = True
            self.backlog.wake()
            thread.join(timeout)

    def _run(self) -> None:
        next_beat, glance_at = time.monotonic(), math.inf
        while True:
            closing = self._closing
            if self.interrupter.act_due():
                self._hurried = True
            # A silent store is asked for itself: that nothing had to be delivered is no answer.
            pause = 0.0 if self._hurried or self._silent else max(0.0, next_beat - time.monotonic())
            try:
                self._deliver(everything=closing)
                self._note_launches()
                if not closing and pause == 0.0:
                    self._hurried = False
                    self.beat()
                    pause = self._third
                    next_beat = time.monotonic() + pause
                    glance_at = next_beat - self.idling.span
                    self.onlooker.look()
                if time.monotonic() >= glance_at:
                    glance_at = math.inf
                    self.idling.glance(self.consumer)
                    # A long wait ends late, by a thousandth of it: the time between the looks is what counts.
                    next_beat = max(next_beat, time.monotonic() + self.idling.span)
                    pause = self.idling.span
                pause = min(pause, max(0.0, glance_at - time.monotonic()))
                if self._silent and not closing:
                    self._silent = False
                    logger.info("The store answers again: leases are renewed")
                for due in (self.backlog.due_in(), self.interrupter.due_in()):
                    pause = pause if due is None else min(pause, due)
            except StoreError as exc:
                if not self._silent:
                    logger.warning("Leases are not renewed for now: %s", exc)
                self._silent = True
                pause = AGAIN
            except Exception:
                logger.exception("A renewal of leases went wrong; the next one follows")
                pause = AGAIN
            if closing:
                return
            self._pause(pause)

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        self.backlog.wait(seconds)
        if self._silent and not self._closing:
            # Woken by an act that cannot be delivered yet.
            time.sleep(max(0.0, deadline - time.monotonic()))

    def _deliver(self, everything: bool) -> None:
        left = self.backlog.deliver(self.context.store, self.context.store_options.retention, everything)
        if everything and left:
            logger.error("The ends of %d runs are not recorded; their leases will run out", left)

    def beat(self) -> None:
        """Register the worker and renew what it holds, once.

        Raises:
            StoreUnavailableError: The store is silent.
        """
        self.context.store.register(self._info(), self.context.config.run_lease)
        begun = {run.run_id: run for run in self.begun.live()}
        renewals = [self._renewal(run) for run in begun.values()]
        renewals += [Renewal(id=run_id, token=0, accepted=False) for run_id in self._queued() if run_id not in begun]
        gone = [run_id for run_id in self.receipts.gone() if run_id not in begun]
        renewals += [Renewal(id=run_id, token=0, accepted=True) for run_id in gone]
        self._renew(renewals, begun)

    def _renewal(self, run: Begun) -> Renewal:
        pid = getattr(run.request(), "process", None)
        return Renewal(id=run.run_id, token=run.token, accepted=self._accepted(run), pid=pid)

    def _renew(self, renewals: Sequence[Renewal], begun: Mapping[str, Begun]) -> None:
        store, lease = self.context.store, self.context.config.run_lease
        for start in range(0, len(renewals), BATCH):
            some = renewals[start : start + BATCH]
            for run_id, kept in store.renew(self.consumer.hostname, some, lease).items():
                if kept is Kept.LOST and run_id in begun:
                    self._concede(begun[run_id])
                elif kept is Kept.INTERRUPT and run_id in begun:
                    self._interrupt(begun[run_id])

    def _interrupt(self, run: Begun) -> None:
        try:
            self.interrupter.interrupt(run)
        except StoreUnavailableError:
            raise
        except Exception:
            # The others' leases are renewed all the same.
            logger.exception("Run %s could not be interrupted", run.run_id)

    def _note_launches(self) -> None:
        """Tell the store the processes of commands that were launched: people ask by them."""
        launched = [run for launch in self.backlog.take_launches() if (run := self.begun.launched(launch)) is not None]
        if launched:
            self._renew([self._renewal(run) for run in launched], {run.run_id: run for run in launched})
        for run in launched:
            self.interrupter.launched(run.run_id)

    def _info(self) -> WorkerInfo:
        queues = self.consumer.app.amqp.queues.consume_from
        return WorkerInfo(
            name=self.consumer.hostname,
            queues=tuple(sorted({queue.name for queue in list(queues.values())})),
            version=str(getattr(sys.modules.get("celery_legion"), "__version__", "")),
            pid=os.getpid(),
            idle=self.idling.idle(self.consumer),
            remote=self._remote,
        )

    def _accepted(self, run: Begun) -> bool:
        request = run.request()
        if request is None or request.time_start is None or request.task.acks_late:
            return False
        # A solo pool blocks the loop that sends the acknowledgement.
        return bool(request.acknowledged) and not isinstance(self.consumer.pool, SoloPool)

    def _queued(self) -> set[str]:
        held = snapshot(state.reserved_requests) + snapshot(scheduled_requests) + limited_requests(self.consumer)
        app = self.context.app
        ours = [request for request in held if request.app is app]
        parts = [part for request in ours if (part := read_part(request.request_dict)) is not None]
        guarded = {request.id for request in ours if raw_header(request.request_dict) is not None}
        return guarded.union((part.run_id for part in parts), self.receipts.held())

    def _concede(self, run: Begun) -> None:
        """Give up a run that the store no longer takes for ours: it is ended where another may run in its place."""
        record = self.context.store.get(run.run_id)
        ours = record is not None and record.token == run.token
        if record is not None and ours and record.state.terminal and record.state is not State.LOST:
            # It has ended, and its result is still on its way here.
            self.begun.drop(run.run_id, run.token)
            return
        # A store that has forgotten the run gives its lock to nobody before the next fire, if at all.
        replaced = record is not None and (not ours or _is_guarded(run))
        if replaced and self.interrupter.can_end(run):
            if self.interrupter.end_lost(run):
                logger.warning("The lease of run %s was lost, another may run in its place: it is ended", run.run_id)
            return
        self.begun.drop(run.run_id, run.token)
        logger.warning(
            "The lease of run %s was lost: it goes on here, but another run of its job may begin (%s)",
            run.run_id,
            "the store does not know it" if record is None else f"{record.state}, attempt {record.attempt}",
        )


def answers_remotely(consumer: Any) -> bool:
    """Return whether a worker answers Celery's remote control: it is not switched off, and its broker can carry it."""
    enabled = bool(consumer.app.conf.worker_enable_remote_control)
    return enabled and bool(consumer.conninfo.supports_exchange_type("fanout"))


def _is_guarded(run: Begun) -> bool:
    """Whether the run's job may not overlap itself."""
    request = run.request()
    header = None if request is None else raw_header(request.request_dict)
    limit = header.get("limit") if isinstance(header, Mapping) else None
    return isinstance(limit, int) and limit > 0
