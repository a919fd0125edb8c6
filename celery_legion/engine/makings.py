"""Makings: a user's code that may be slow makes messages beside the passes, on threads that can be left behind."""

from __future__ import annotations

import logging
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

from celery import Task
from celery.app.routes import MapRoute

from celery_legion.engine.dispatch import Dispatch
from celery_legion.engine.making import KEPT, Maker, Send

logger = logging.getLogger(__name__)

SLOW = 0.1
"""Seconds of making from which on a job's next one is done beside the passes."""

PATIENCE = 0.25
"""Seconds in any second that passes wait for such makings; nearly all are done in a thousandth of that."""

QUICK = 0.02
"""Seconds that are waited for any, and do not count: many quick makings are no slow one."""

MOST = 10
"""Most makings that go on at a time; further ones begin when one of them ends."""


class Makings:
    """Makes the messages of dispatches, each once, and holds up no pass for longer than :data:`PATIENCE`.

    What may be slow has a thread of its own for that: jobs whose task overrides ``apply_async``, all jobs where there
    are routers that are code, and those whose last making was slow. One that takes longer is ``late``, and goes on; its
    result is taken when the dispatch is made once more, when :meth:`is_ready` says so. No job has two at a time.
    """

    def __init__(self, app: Any, monotonic: Callable[[], float]) -> None:
        self._app = app
        self._monotonic = monotonic
        self._maker = Maker(app)
        self._errands: dict[str, Errand] = {}
        self._done: OrderedDict[str, Dispatch] = OrderedDict()
        self._threads: list[SideThread] = []
        self._slow: set[str] = set()
        self._tardy: set[str] = set()
        self._window = self._waited = 0.0
        self._news = threading.Event()

    def make(self, dispatch: Dispatch, send: Send) -> None:
        """Write on *dispatch* what it is to send, the ``error`` for which there is nothing to send, or ``late``.

        Raises:
            Exception: The app has no broker that kombu knows.
        """
        dispatch.late = False
        self._settle(dispatch.job)
        if (done := self._done.pop(dispatch.run_id, None)) is not None:
            self._adopt(dispatch, done)
        elif dispatch.job in self._errands:
            dispatch.late = True
        elif self._maker.keeps(dispatch.run_id) or not self._may_be_slow(dispatch):
            began = self._monotonic()
            self._maker.make(dispatch, send)
            if self._monotonic() - began > SLOW:
                self._slow.add(dispatch.job)
        else:
            self._make_aside(dispatch, send)

    def is_ready(self, dispatch: Dispatch) -> bool:
        """Return whether making a late *dispatch* once more may come to something."""
        if dispatch.run_id in self._done:
            return True
        errand = self._errands.get(dispatch.job)
        return errand.done.is_set() if errand is not None else self._free() is not None or len(self._threads) < MOST

    def wait(self, seconds: float) -> None:
        """Wait until a late making ends, or for *seconds*."""
        self._news.wait(seconds)
        self._news.clear()

    def forget(self, run_id: str) -> None:
        """Keep the messages of a run no longer."""
        self._maker.forget(run_id)

    def _may_be_slow(self, dispatch: Dispatch) -> bool:
        task = self._app.tasks.get(dispatch.message.task)
        # Monitors patch Celery's own class, which keeps it the same for all.
        if dispatch.job in self._slow or (task is not None and type(task).apply_async is not Task.apply_async):
            return True
        return any(not isinstance(router, MapRoute) for router in self._app.amqp.routes)

    def _make_aside(self, dispatch: Dispatch, send: Send) -> None:
        thread = self._free()
        if thread is None and len(self._threads) < MOST:
            thread = SideThread(self._app)
            self._threads.append(thread)
        if thread is None:
            dispatch.late = True
            return
        errand = self._errands[dispatch.job] = Errand(dispatch, send, self._monotonic, self._news)
        thread.give(errand)
        began = self._monotonic()
        if began - self._window >= 1:
            self._window, self._waited = began, 0.0
        # Nobody waits for a job that was not worth it last time.
        patience = 0.0 if dispatch.job in self._tardy else max(QUICK, PATIENCE - self._waited)
        errand.done.wait(patience)
        took = self._monotonic() - began
        self._waited += took if took > QUICK else 0.0
        self._settle(dispatch.job)
        if (done := self._done.pop(dispatch.run_id, None)) is not None:
            self._adopt(dispatch, done)
        else:
            dispatch.late = True

    def _settle(self, job: str) -> None:
        """Take note of a job's making that has ended."""
        errand = self._errands.get(job)
        if errand is None or not errand.done.is_set():
            return
        del self._errands[job]
        for jobs, bound in ((self._slow, SLOW), (self._tardy, PATIENCE)):
            (jobs.add if errand.took > bound else jobs.discard)(job)
        self._done[errand.dispatch.run_id] = errand.dispatch
        if len(self._done) > KEPT:
            self._done.popitem(last=False)

    def _adopt(self, dispatch: Dispatch, done: Dispatch) -> None:
        dispatch.making, dispatch.error, dispatch.result = done.making, done.error, done.result
        if done.making is not None:
            self._maker.keep(dispatch.run_id, done.making)

    def _free(self) -> SideThread | None:
        return next((thread for thread in self._threads if thread.errand is None), None)


class Errand:
    """One making on a side thread. The thread has a dispatch of its own: whoever waits may have gone."""

    def __init__(self, dispatch: Dispatch, send: Send, monotonic: Callable[[], float], news: threading.Event) -> None:
        self.dispatch = replace(dispatch, making=None, error=None, result=None)
        self.done = threading.Event()
        self.took = 0.0
        self._send = send
        self._monotonic = monotonic
        self._news = news
        # What tracing and logging keep for the pass counts here too.
        self._context: Context = copy_context()

    def run(self, maker: Maker) -> None:
        """Make the message; whatever is raised is the job's own error."""
        began = self._monotonic()
        try:
            self._context.run(maker.build, self.dispatch, self._send)
        except Exception as exc:
            self.dispatch.error = exc
        except BaseException as exc:
            # Here it ends nothing but a thread.
            self.dispatch.error = RuntimeError(f"{type(exc).__name__} was raised by its own code")
        self.took = self._monotonic() - began

    def end(self) -> None:
        """Say that it is done."""
        self.done.set()
        self._news.set()


class SideThread(threading.Thread):
    """Does one errand after another. ``of_main`` says whether the main thread sends by it."""

    def __init__(self, app: Any) -> None:
        # A daemon: a making that never returns must not keep the process from its end.
        super().__init__(name="legion-making", daemon=True)
        self.of_main = threading.current_thread() is threading.main_thread()
        self.errand: Errand | None = None
        self._app = app
        self._errands: SimpleQueue[Errand] = SimpleQueue()
        self.start()

    def give(self, errand: Errand) -> None:
        """Have an errand done; the thread is taken until then."""
        self.errand = errand
        self._errands.put(errand)

    def run(self) -> None:
        """Do what is given."""
        # Celery's current app is each thread's own.
        self._app.set_current()
        maker = Maker(self._app)
        while True:
            errand = self._errands.get()
            _close_old_connections()
            errand.run(maker)
            _close_old_connections()
            self.errand = None
            errand.end()
            del errand


def _close_old_connections() -> None:
    """Close Django's connections of this thread that are too old, as is done before and after a request."""
    database = sys.modules.get("django.db")
    if database is None:
        return
    try:
        database.close_old_connections()
    except Exception as exc:
        logger.debug("closing old database connections: %s", exc)
