"""Killing what was told to terminate, and looking again at what was interrupted."""

from __future__ import annotations

import signal
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from celery_legion.context import Context
from celery_legion.stores.base import Interruption
from celery_legion.worker.begun import Begun, BegunRuns
from celery_legion.worker.interrupting import Interrupter


class Pool:
    """A prefork pool, as far as it is asked: its processes, and what it was told to kill."""

    is_green = False

    def __init__(self, *pids: int) -> None:
        # Celery puts it on the instance.
        self.terminate_job = self._terminate_job
        self._pool = SimpleNamespace(_pool=[SimpleNamespace(pid=pid) for pid in pids])
        self.killed: list[tuple[int, int]] = []

    def _terminate_job(self, pid: int, number: int) -> None:
        self.killed.append((pid, number))


def job(ready: bool) -> Any:
    return SimpleNamespace(ready=lambda: ready)


@pytest.fixture
def interrupter() -> Interrupter:
    return Interrupter(Context(Celery("shop", broker="memory://")), BegunRuns())


def test_a_process_that_is_still_at_its_job_is_killed_when_the_grace_is_over(interrupter: Interrupter) -> None:
    pool = Pool(7, 8)
    interrupter.kill_later(0.0, pool, 7, job(ready=False))
    interrupter.kill_later(3600.0, pool, 8, job(ready=False))

    assert interrupter.due_in() == 0.0
    assert interrupter.act_due() is False
    assert pool.killed == [(7, signal.SIGKILL)]
    left = interrupter.due_in()
    assert left is not None
    assert 3590 < left <= 3600


@pytest.mark.parametrize(
    ("pid", "given"), [(7, job(ready=True)), (9, job(ready=False)), (7, None)], ids=["done", "gone", "never accepted"]
)
def test_one_that_has_done_it_or_is_gone_is_not(interrupter: Interrupter, pid: int, given: Any) -> None:
    pool = Pool(7, 8)
    interrupter.kill_later(0.0, pool, pid, given)
    interrupter.act_due()

    assert pool.killed == []
    assert interrupter.due_in() is None


class Request:
    """One that Celery has started, unless *started* is None."""

    def __init__(self, started: float | None, job: Any) -> None:
        self.task = SimpleNamespace(name="work")
        self.time_start, self.worker_pid = started, 7
        self._context, self._terminate_on_ack = SimpleNamespace(), None
        self._apply_result = lambda: job

    def terminate(self, pool: Any, number: int) -> None:
        raise AssertionError("this tells the broker, and waits for it")


def carry_out(interrupter: Interrupter, request: Request, monkeypatch: pytest.MonkeyPatch) -> Pool:
    """Interrupt *request* in a worker without an event loop whose consumer is blocked: it calls nothing."""
    pool = Pool(7)
    interrupter.attach(SimpleNamespace(hub=None, pool=pool, call_soon=lambda _: None))
    asked = Interruption(signal=signal.SIGINT, grace=timedelta(seconds=9))
    monkeypatch.setattr(interrupter.context, "_store", SimpleNamespace(interruption=lambda _: asked))
    interrupter.interrupt(Begun("run", 1, lambda: request))  # type: ignore[arg-type]
    return pool


def test_without_an_event_loop_a_process_is_signalled_at_once(
    interrupter: Interrupter, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = carry_out(interrupter, Request(1.0, job(ready=False)), monkeypatch)
    assert pool.killed == [(7, signal.SIGINT)]
    [kill] = interrupter._kills
    assert 8 < kill[0] - time.monotonic() <= 9


def test_without_an_event_loop_one_that_waits_for_a_process_ends_as_it_gets_one(
    interrupter: Interrupter, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(None, job(ready=False))
    pool = carry_out(interrupter, request, monkeypatch)
    assert (pool.killed, request._terminate_on_ack) == ([], (pool, signal.SIGINT))


def test_without_an_event_loop_a_process_that_has_done_it_is_left_alone(
    interrupter: Interrupter, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = carry_out(interrupter, Request(1.0, job(ready=True)), monkeypatch)
    assert (pool.killed, interrupter._kills) == ([], [])
