"""What receivers of task_revoked are told of the signal."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from celery import signals

from celery_legion.worker.request import as_signal
from tests.worker.doubles import GO, Bench


@pytest.mark.parametrize("given", [15, signal.SIGTERM, "15", "-15", -15])
def test_a_signal_by_any_of_its_names_is_one(given: Any) -> None:
    assert as_signal(given) is signal.SIGTERM


@pytest.mark.parametrize("given", [None, 0, 4000, "no number"])
def test_what_is_no_signal_stays_what_it_is(given: Any) -> None:
    assert as_signal(given) is given


@pytest.mark.parametrize("number", [2, signal.SIGINT])
def test_receivers_get_the_signal_itself(number: int) -> None:
    bench, told = Bench(GO), []

    class Pool:
        is_green = True

        def terminate_job(self, pid: int, number: int) -> None: ...

    def on_revoked(signum: Any, **_: Any) -> None:
        told.append(signum)

    signals.task_revoked.connect(on_revoked)
    request = bench.request("run", header=None)
    request.time_start, request.worker_pid = 1.0, 7
    request.terminate(Pool(), number)
    assert told == [signal.SIGINT]
    assert type(told[0]) is signal.Signals
