"""Progress: when the store is told what a run has written, and when it is left alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from celery_legion import Legion
from celery_legion.errors import StoreUnavailableError
from celery_legion.run import Kind
from celery_legion.stores.memory import MemoryStore
from celery_legion.testing.conformance_case import KEEP, SUCCESS, fire
from celery_legion.testing.conformance_case import run as begin
from celery_legion.worker import progress as module
from celery_legion.worker.current import CurrentRun
from celery_legion.worker.progress import EVERY, SILENT, Progress


class Timers:
    """Stands in for the timers: they go off when a test says so."""

    def __init__(self) -> None:
        self.started: list[Any] = []

    def timer(self, interval: float, function: Callable[[], None]) -> Any:
        timers = self

        class Timer:
            daemon = False

            def __init__(self) -> None:
                self.interval, self.cancelled = interval, False

            def start(self) -> None:
                assert self.daemon, "it would keep the process alive"
                timers.started.append(self)

            def cancel(self) -> None:
                self.cancelled = True

            def go_off(self) -> None:
                function()

        return Timer()

    @property
    def intervals(self) -> list[float]:
        return [timer.interval for timer in self.started]

    def go_off(self) -> None:
        self.started[-1].go_off()


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> Timers:
    made = Timers()
    monkeypatch.setattr(threading, "Timer", made.timer)
    return made


@pytest.fixture
def token(store: MemoryStore) -> int:
    return begin(store, fire(1))


@pytest.fixture
def make(legion: Legion, token: int) -> Callable[[Callable[[], str | None]], Progress]:
    run = CurrentRun(
        id="job-1",
        job="job",
        fire_time=datetime(2030, 1, 1, tzinfo=UTC),
        kind=Kind.MANUAL,
        attempt=1,
        token=token,
        previous_success=None,
    )
    return lambda tail: Progress(legion.context, run, tail)


def output(store: MemoryStore) -> str | None:
    record = store.get("job-1")
    assert record is not None
    return record.output


def test_what_is_written_is_told_a_while_later(make: Any, store: MemoryStore, timers: Timers) -> None:
    progress = make(lambda: "so far")
    assert timers.started == []
    progress.note()
    assert output(store) is None
    timers.go_off()
    assert output(store) == "so far"
    assert timers.intervals == [EVERY.total_seconds()]


def test_much_that_is_written_in_the_while_is_told_at_once(make: Any, store: MemoryStore, timers: Timers) -> None:
    lines: list[str] = []
    progress = make(lambda: "".join(lines))
    for number in range(1000):
        lines.append(f"{number}\n")
        progress.note()
    assert len(timers.started) == 1
    timers.go_off()
    assert output(store) == "".join(lines)
    # And nothing more is told until something is written.
    assert len(timers.started) == 1
    progress.note()
    assert len(timers.started) == 2


def test_what_is_written_while_the_store_is_told_is_told_the_next_time(
    make: Any, store: MemoryStore, timers: Timers, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["one"]
    progress = make(lambda: "".join(lines))
    tell = store.progress

    def slow(*args: Any) -> bool:
        lines.append("two")
        progress.note()
        return tell(*args)

    progress.note()
    with monkeypatch.context() as patch:
        patch.setattr(store, "progress", slow)
        timers.go_off()
    assert len(timers.started) == 2
    timers.go_off()
    assert output(store) == "onetwo"


def test_a_run_that_is_shorter_than_the_while_tells_nothing(make: Any, store: MemoryStore, timers: Timers) -> None:
    progress = make(lambda: "x")
    progress.note()
    progress.close()
    assert timers.started[0].cancelled
    # It may have gone off in that very moment.
    timers.go_off()
    assert output(store) is None
    progress.note()
    assert len(timers.started) == 1
    progress.close()


def test_what_is_told_after_the_end_changes_nothing(make: Any, store: MemoryStore, token: int, timers: Timers) -> None:
    progress = make(lambda: "late")
    progress.note()
    assert store.end("job-1", token, SUCCESS, KEEP)
    timers.go_off()
    assert output(store) is None


def test_a_store_that_does_not_answer_is_left_alone_for_longer_and_the_run_goes_on(
    make: Any, store: MemoryStore, timers: Timers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*args: Any) -> Any:
        raise StoreUnavailableError("redis://x", "timed out")

    progress = make(lambda: "x")
    with monkeypatch.context() as patch:
        patch.setattr(store, "progress", silent)
        for _ in range(2):
            progress.note()
            timers.go_off()
    progress.note()
    timers.go_off()
    assert output(store) == "x"
    progress.note()
    assert timers.intervals == [EVERY.total_seconds(), *[SILENT.total_seconds()] * 2, EVERY.total_seconds()]


def test_what_could_not_be_told_is_told_although_nothing_more_is_written(
    make: Any, store: MemoryStore, timers: Timers, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A run that says "waiting for the other side" and then waits for an hour.
    def silent(*args: Any) -> Any:
        raise StoreUnavailableError("redis://x", "timed out")

    progress = make(lambda: "waiting")
    progress.note()
    with monkeypatch.context() as patch:
        patch.setattr(store, "progress", silent)
        timers.go_off()
    assert timers.intervals == [EVERY.total_seconds(), SILENT.total_seconds()]
    timers.go_off()
    assert output(store) == "waiting"


def test_nothing_written_is_nothing_to_tell(make: Any, store: MemoryStore, timers: Timers) -> None:
    progress = make(lambda: None)
    progress.note()
    timers.go_off()
    assert not output(store)


def test_with_real_timers_it_is_told_from_another_thread_and_never_after_the_close(
    make: Any, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY", timedelta(milliseconds=20))
    told = threading.Event()
    threads: list[threading.Thread] = []
    tell = store.progress

    def note(*args: Any) -> bool:
        threads.append(threading.current_thread())
        answer = tell(*args)
        told.set()
        return answer

    monkeypatch.setattr(store, "progress", note)
    progress = make(lambda: "so far")
    progress.note()
    assert told.wait(5)
    assert output(store) == "so far"
    assert threads[0] is not threading.current_thread()
    assert threads[0].daemon

    progress.note()
    progress.close()
    told.clear()
    assert not told.wait(0.1)
