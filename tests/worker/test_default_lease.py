"""With the lease that an app gets when it sets none, on a clock that is moved: what a worker says, and what is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state

from celery_legion.config import Config
from celery_legion.worker import idling, renewal, requests
from celery_legion.worker.backlog import Backlog
from celery_legion.worker.idling import NOT_IDLE
from celery_legion.worker.renewal import Renewer
from tests.worker.doubles import GO, Bench


@pytest.fixture(autouse=True)
def clean_books() -> Iterator[None]:
    state.reset_state()
    requests.scheduled_requests.clear()
    yield
    state.reset_state()
    requests.scheduled_requests.clear()


class Time:
    """A clock on which waits end late, as those of a kernel do: the longer, the later."""

    def __init__(self, late: float, least: float) -> None:
        self.seconds = 100.0
        self.late, self.least = late, least

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds * (1 + self.late) + self.least


@pytest.fixture
def renew(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bench]:
    """Return what renews on such a clock for some minutes."""

    def run(late: float, least: float, minutes: float = 3, lease: timedelta | None = None) -> Bench:
        time = Time(late, least)
        for module in (renewal, idling):
            monkeypatch.setattr(module, "time", time)
        bench = Bench(GO)
        if lease is not None:
            bench.app.conf.legion_run_lease = lease.total_seconds()
        consumer: Any = bench.consumer
        consumer.connection = SimpleNamespace(_connection=object())
        consumer.task_consumer = object()
        consumer.pool = SimpleNamespace(num_processes=2)
        consumer.task_buckets = {}
        backlog = Backlog()
        renewer = Renewer(bench.context, backlog, bench.begun)
        renewer.consumer = consumer
        until = time.seconds + 60 * minutes

        def wait(seconds: float) -> None:
            time.sleep(seconds)
            renewer._closing = time.seconds >= until

        monkeypatch.setattr(backlog, "wait", wait)
        renewer._run()
        return bench

    return run


@pytest.mark.parametrize("lease", [None, timedelta(hours=1), timedelta(seconds=3)])
@pytest.mark.parametrize(("late", "least"), [(0.0, 0.0), (0.001, 0.0), (0.001, 0.001), (0.02, 0.003), (-0.0001, 0.0)])
def test_a_worker_that_waits_in_vain_says_so_at_each_renewal_but_the_first(
    renew: Callable[..., Bench], late: float, least: float, lease: timedelta | None
) -> None:
    bench = renew(late, least, minutes=150 if lease == timedelta(hours=1) else 3, lease=lease)
    first, *others = [worker.idle for worker in bench.store.workers]
    assert first == NOT_IDLE
    assert len(others) >= 7
    assert all(idle > NOT_IDLE for idle in others)


def test_the_first_look_delays_no_renewal_by_much(renew: Callable[..., Bench]) -> None:
    default = Config.of(Bench(GO).app).run_lease
    assert default == timedelta(seconds=60)
    assert len(renew(0.001, 0.001, minutes=10).store.workers) == 30
