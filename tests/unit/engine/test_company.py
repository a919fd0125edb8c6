"""A leader without Legion(app) beside others that have it: both say so, with what to do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from celery_legion.engine import Engine
from celery_legion.stores.memory import MemoryStore
from celery_legion.testing.conformance_case import attend
from tests.unit.engine.bench import FakeClock

SECOND = timedelta(seconds=1)
LEADER, STANDBY = "this scheduler leads and runs without Legion(app)", "the scheduler that leads, "


def said(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [message for message in caplog.messages if message.startswith(words)]


def tick(clock: FakeClock, seconds: int, *engines: Engine) -> None:
    for _ in range(seconds):
        clock.advance(SECOND)
        for engine in engines:
            engine.tick()


def test_a_leader_without_and_a_standby_with_it_both_say_so(
    make: Callable[..., Engine], clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    bare, guarded = make(guarded=False), make()
    tick(clock, 62, bare, guarded)

    # The leader looked first when no standby was there.
    assert (len(said(caplog, LEADER)), len(said(caplog, STANDBY))) == (2, 3)
    assert ", unlike standby " in said(caplog, LEADER)[-1]
    assert "put that line there" in said(caplog, LEADER)[-1]
    assert "unlike this process" in said(caplog, STANDBY)[0]


def test_a_leader_without_it_says_so_beside_a_worker_that_has_it(
    make: Callable[..., Engine], clock: FakeClock, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    bare = make(guarded=False)
    tick(clock, 5, bare)
    assert said(caplog, LEADER) == []
    attend(store, "celery")
    tick(clock, 31, bare)

    [words] = said(caplog, LEADER)
    assert ", unlike worker worker-1: " in words


def test_nothing_is_said_where_all_have_it_or_none_has(
    make: Callable[..., Engine], clock: FakeClock, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    tick(clock, 40, make(guarded=False), make(guarded=False))
    assert said(caplog, LEADER) == said(caplog, STANDBY) == []


def test_nothing_is_said_of_a_guarded_leader(
    make: Callable[..., Engine], clock: FakeClock, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    attend(store, "celery")
    tick(clock, 40, make(), make(guarded=False))
    assert said(caplog, LEADER) == said(caplog, STANDBY) == []
