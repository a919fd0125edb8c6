"""The current run, also where a task's code is executed in another thread than Celery's books are of."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from celery_legion.worker.current import current_request, current_run
from tests.worker.doubles import GO, Bench


@contextmanager
def executed(bench: Bench, run_id: str) -> Iterator[Any]:
    """Execute a run as a tracer does."""
    request = bench.context_of(run_id)
    bench.task.request_stack.push(request)
    bench.recorder.on_prerun(bench.task)
    try:
        yield request
    finally:
        bench.recorder.on_postrun(bench.task, "SUCCESS", None)
        bench.task.request_stack.pop()


def found() -> tuple[str | None, Any]:
    run = current_run()
    return None if run is None else run.id, current_request(None)


def test_a_pool_that_executes_in_a_thread_with_the_same_context_knows_the_run() -> None:
    bench = Bench(GO)
    with executed(bench, "run") as request:
        assert asyncio.run(asyncio.to_thread(found)) == ("run", request)


def test_a_thread_without_the_context_knows_none() -> None:
    seen = []
    with executed(Bench(GO), "run"):
        thread = threading.Thread(target=lambda: seen.append(found()))
        thread.start()
        thread.join()
    assert seen == [(None, None)]


@pytest.mark.parametrize("inside", [True, False])
def test_a_run_is_forgotten_at_its_end(inside: bool) -> None:
    bench = Bench(GO)
    with executed(bench, "outer") as outer:
        if inside:
            with executed(bench, "inner") as inner:
                assert found() == ("inner", inner)
        assert found() == ("outer", outer)
    assert found() == (None, None)


def test_a_tasks_request_is_the_current_one_unless_it_is_a_copy() -> None:
    bench = Bench(GO)
    with executed(bench, "run") as request:
        other = bench.context_of("other")
        assert current_request(other) is other
        assert current_request(bench.context_of("run")) is request
