"""What a worker says of those who schedule beside its scheduler, or without Legion(app)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from celery import Celery, signals

from celery_legion import Legion
from celery_legion.stores.memory import MemoryStore
from celery_legion.testing.conformance_case import BEAT, INFO, LONG, lead
from celery_legion.worker.onlooker import LOOK_EVERY, NOTED, REMIND_EVERY, Onlooker

FROM_BEAT = {"celery_beat_task": True}


class Clock:
    moment = 1000.0

    def __call__(self) -> float:
        return self.moment


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def onlooker(store: MemoryStore, clock: Clock) -> Onlooker:
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.beat_schedule = {"tick": {"task": "shop.tick", "schedule": 5}}
    legion = Legion(app)
    legion.task("shop.report").hourly().name("report")
    legion.context.use_store(store)
    return Onlooker(legion.context, clock)


def receive(onlooker: Onlooker, task: str, **headers: Any) -> None:
    request = type("Request", (), {"name": task, "request_dict": {"id": "1", "headers": None, **headers}})()
    onlooker.receive(request=request)


@pytest.mark.parametrize(
    ("task", "headers", "job"),
    [
        ("shop.tick", FROM_BEAT, "tick"),
        ("shop.report", FROM_BEAT, "report"),
        ("shop.report", {**FROM_BEAT, "periodic_task_name": "report"}, "report"),
        ("shop.tick", {"periodic_task_name": "tick"}, "tick"),
    ],
)
def test_another_beat_that_sends_what_the_leader_sends_is_told_of_with_what_to_do(
    onlooker: Onlooker,
    store: MemoryStore,
    caplog: pytest.LogCaptureFixture,
    task: str,
    headers: dict[str, Any],
    job: str,
) -> None:
    lead(store)
    receive(onlooker, task, **headers)
    onlooker.look()

    [said] = caplog.messages
    assert said.startswith(f"another beat sends job {job}, which the scheduler alpha:101 sends too")
    assert "stop that beat" in said


@pytest.mark.parametrize(
    ("task", "headers"),
    [
        ("shop.tick", {}),
        ("shop.tick", {**FROM_BEAT, "legion": {"v": 1}}),
        ("shop.tick", {**FROM_BEAT, "headers": {"legion": {"v": 1}}}),
        ("shop.tick", {**FROM_BEAT, "legion_sent": True}),
        ("shop.tick", {**FROM_BEAT, "headers": {"legion_sent": True}}),
        ("shop.other", FROM_BEAT),
        # A row of its own for the same task, as one with other arguments.
        ("shop.tick", {**FROM_BEAT, "periodic_task_name": "tick of another shop"}),
    ],
    ids=[
        "sent by the app",
        "ours",
        "ours, of the first protocol",
        "ours, of no run",
        "of no run, of the first protocol",
        "no job of ours",
        "another entry",
    ],
)
def test_nothing_is_said_of_other_messages(
    onlooker: Onlooker, store: MemoryStore, caplog: pytest.LogCaptureFixture, task: str, headers: dict[str, Any]
) -> None:
    lead(store)
    receive(onlooker, task, **headers)
    onlooker.look()

    assert caplog.messages == []


def test_nothing_is_said_of_the_only_beat_there_is(
    onlooker: Onlooker, store: MemoryStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    receive(onlooker, "shop.tick", **FROM_BEAT)
    onlooker.look()
    lead(store)
    clock.moment += LOOK_EVERY
    onlooker.look()

    assert caplog.messages == []


def test_it_is_said_once_in_ten_minutes(
    onlooker: Onlooker, store: MemoryStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    lead(store)
    for _ in range(int(REMIND_EVERY / LOOK_EVERY) + 1):
        receive(onlooker, "shop.tick", **FROM_BEAT)
        onlooker.look()
        onlooker.look()
        clock.moment += LOOK_EVERY

    assert len(caplog.messages) == 2


def test_a_leader_without_legion_is_told_of_at_most_twice_a_minute(
    onlooker: Onlooker, store: MemoryStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store.pulse(BEAT, LONG, 0, 10, replace(INFO, guarded=False))
    for _ in range(60):
        onlooker.look()
        clock.moment += 1.0

    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith("the scheduler that leads, alpha:101, runs without Legion(app)")


def test_a_flood_of_names_is_not_kept(onlooker: Onlooker) -> None:
    for number in range(10 * NOTED):
        receive(onlooker, f"forged-{number}", **FROM_BEAT)

    assert len(onlooker._noted) == NOTED


def test_it_hears_of_what_celery_receives_once_connected(
    onlooker: Onlooker, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    lead(store)
    onlooker.connect()
    request = type("Request", (), {"name": "shop.tick", "request_dict": FROM_BEAT})()
    signals.task_received.send(sender="consumer", request=request)
    onlooker.look()

    assert len(caplog.messages) == 1
