"""What a worker says of those who schedule beside its scheduler, or without Legion(app)."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, signals

from celery_legion import Legion
from celery_legion.stores.memory import MemoryStore
from celery_legion.testing.conformance_case import BEAT, INFO, LONG, lead
from celery_legion.worker.onlooker import LOOK_EVERY, NOTED, REMIND_EVERY, Onlooker

FROM_BEAT = {"celery_beat_task": True}
OURS = {**FROM_BEAT, "legion": {"v": 1, "kind": "scheduled"}}


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


def receive(onlooker: Onlooker, task: str, *, queue: str = "celery", redelivered: bool = False, **headers: Any) -> None:
    request = SimpleNamespace(
        name=task,
        request_dict={"id": "1", "headers": None, **headers},
        delivery_info={"exchange": "", "routing_key": queue, "priority": 0, "redelivered": redelivered},
    )
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
    receive(onlooker, "shop.tick", **OURS)
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
    receive(onlooker, "shop.tick", **OURS)
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
    receive(onlooker, "shop.tick", **OURS)
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
    receive(onlooker, "shop.tick", **OURS)
    for number in range(10 * NOTED):
        receive(onlooker, f"forged-{number}", **FROM_BEAT)
        receive(onlooker, "shop.tick", queue=f"forged-{number}", **OURS)

    assert len(onlooker._noted) == NOTED
    assert len(onlooker._lanes) == NOTED


def test_which_of_several_jobs_of_a_task_it_is_is_not_guessed(
    onlooker: Onlooker, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    lead(store)
    onlooker.context.app.conf.beat_schedule["nightly"] = {"task": "shop.tick", "schedule": 86400}
    receive(onlooker, "shop.tick", **OURS)
    receive(onlooker, "shop.tick", **FROM_BEAT)
    receive(onlooker, "shop.report", **FROM_BEAT)
    onlooker.look()

    assert caplog.messages[0].startswith("another beat sends a job of task shop.tick (nightly, tick) and 1 more, which")


def test_what_a_queue_has_kept_since_before_the_leader_is_no_other_beat(
    onlooker: Onlooker, store: MemoryStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    lead(store)
    receive(onlooker, "shop.tick", **FROM_BEAT)
    receive(onlooker, "shop.tick", **{**OURS, "legion": {"v": 1, "kind": "manual"}})
    receive(onlooker, "shop.tick", **FROM_BEAT)
    receive(onlooker, "shop.tick", queue="other", **OURS)
    receive(onlooker, "shop.tick", redelivered=True, **OURS)
    receive(onlooker, "shop.tick", **FROM_BEAT)
    receive(onlooker, "shop.tick", **OURS)
    receive(onlooker, "shop.tick", redelivered=True, **FROM_BEAT)
    receive(onlooker, "shop.tick", retries=1, **FROM_BEAT)
    onlooker.look()
    assert caplog.messages == []

    receive(onlooker, "shop.tick", **FROM_BEAT)
    clock.moment += LOOK_EVERY
    onlooker.look()
    assert len(caplog.messages) == 1


def test_a_leader_without_legion_is_not_taken_for_another_beat(
    onlooker: Onlooker, store: MemoryStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store.pulse(BEAT, LONG, 0, 10, replace(INFO, guarded=False))
    receive(onlooker, "shop.tick", **OURS)
    receive(onlooker, "shop.tick", **FROM_BEAT)
    onlooker.look()
    # What it has left in the queue is no other's either, when one with Legion(app) leads.
    store.pulse(BEAT, LONG, 0, 10, INFO)
    receive(onlooker, "shop.tick", **FROM_BEAT)
    clock.moment += LOOK_EVERY
    onlooker.look()

    [said] = caplog.messages
    assert "runs without Legion(app)" in said


def test_it_hears_of_what_celery_receives_once_connected(
    onlooker: Onlooker, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    lead(store)
    onlooker.connect()
    for headers in (OURS, FROM_BEAT):
        request = SimpleNamespace(name="shop.tick", request_dict=headers, delivery_info={"routing_key": "celery"})
        signals.task_received.send(sender="consumer", request=request)
    onlooker.look()

    assert len(caplog.messages) == 1
