"""What the tests of hooks share: a job, endings that owe hooks, and a clock that stands still."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from celery_legion import Legion
from celery_legion.run import Kind, State
from celery_legion.stores.base import Claim, Debt, Lapse, Outcome
from celery_legion.stores.memory import MemoryStore
from celery_legion.testing.conformance_case import KEEP, SUCCESS, fire, grant, minute
from celery_legion.testing.conformance_case import run as begin
from celery_legion.worker.acts import Paid
from celery_legion.worker.current import CurrentRun

JOB = "job"
LATER: list[Paid] = []
"""What the store has not heard."""


ENDINGS = frozenset(state for state in State if state.terminal)


class Clock:
    def __init__(self) -> None:
        self.moment = datetime(2030, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment


def owe(store: MemoryStore, outcome: Outcome = SUCCESS, number: int = 1) -> str:
    """End a run so that it owes hooks; returns the debt's id."""
    claim = replace(fire(number), owes=ENDINGS)
    token = begin(store, claim)
    assert store.end(f"job-{number}", token, outcome, KEEP)
    return f"job-{number}:{token}"


def skip(store: MemoryStore, count: int) -> Debt:
    """Skip some fires so that they owe hooks; returns the debt."""
    lapse = Lapse(state=State.SKIPPED, reason="paused", first=minute(1), last=minute(count), count=count)
    grant(store, Claim(job=JOB, fire_time=minute(count), mark=minute(0), lapses=(lapse,), owes=ENDINGS))
    [debt] = store.owed(10, timedelta(0))
    return debt


def job(legion: Legion, **hooks: Callable[..., object]) -> None:
    builder = legion.task("t").hourly().name(JOB)
    for name, hook in hooks.items():
        getattr(builder, name)(hook)


def hook_error(store: MemoryStore, number: int = 1) -> str | None:
    record = store.get(f"job-{number}")
    assert record is not None
    return record.hook_error


def a_run(**fields: Any) -> CurrentRun:
    given = {"id": "r", "job": JOB, "fire_time": minute(1), "kind": Kind.SCHEDULED, "attempt": 1, "token": 1}
    return CurrentRun(**{**given, "previous_success": None, **fields})
