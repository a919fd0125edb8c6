"""Killing what was told to terminate, and looking again at what was interrupted."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from celery_legion.context import Context
from celery_legion.worker.begun import BegunRuns
from celery_legion.worker.interrupting import Interrupter


class Pool:
    """A prefork pool, as far as it is asked: its processes, and what it was told to kill."""

    def __init__(self, *pids: int) -> None:
        self._pool = SimpleNamespace(_pool=[SimpleNamespace(pid=pid) for pid in pids])
        self.killed: list[tuple[int, int]] = []

    def terminate_job(self, pid: int, number: int) -> None:
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
