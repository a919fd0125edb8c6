"""The thread that listens for what cannot wait: it hurries the worker, outlives outages, and ends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from celery_legion.errors import StoreUnavailableError
from celery_legion.worker import hurrying as module
from celery_legion.worker.hurrying import TURN, Listener


class Calls:
    """A store that says what it was told to say, one answer a turn, and then has the listener stop."""

    def __init__(self, *answers: bool | Exception) -> None:
        self.answers: Iterator[bool | Exception] = iter(answers)
        self.listener = Listener(lambda: self, self.hurry)
        self.asked: list[tuple[str, timedelta]] = []
        self.slept: list[float] = []
        self.hurries = 0

    def hurried(self, worker: str, timeout: timedelta) -> bool:
        self.asked.append((worker, timeout))
        answer = next(self.answers, None)
        if answer is None:
            self.listener.stop()
            return True
        if isinstance(answer, Exception):
            raise answer
        return answer

    def hurry(self) -> None:
        self.hurries += 1

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def run(self) -> None:
        self.listener._run("w@shop")


def test_each_call_hurries_the_worker_once_and_one_that_comes_when_it_stops_does_not() -> None:
    calls = Calls(True, False, False, True)
    calls.run()
    assert calls.hurries == 2
    assert calls.asked == [("w@shop", TURN)] * 5


def test_an_outage_is_slept_out(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(StoreUnavailableError("redis://", "timed out"), RuntimeError("whatever"), True)
    monkeypatch.setattr(module, "time", calls)
    calls.run()
    assert calls.hurries == 1
    assert calls.slept == [TURN.total_seconds()] * 2
