"""Room for what waits at the gate where the broker keeps a prefetch count for each consumer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.bootsteps import CLOSE, RUN
from kombu.common import QoS

from celery_legion.worker.prefetch import LATER, SOON, Prefetch, keeps_count


class Timer:
    def __init__(self) -> None:
        self.due: list[tuple[float, Any]] = []

    def call_after(self, seconds: float, function: Any, args: tuple[Any, ...] = ()) -> None:
        self.due.append((seconds, lambda: function(*args)))

    def fire(self, until: float = LATER) -> list[float]:
        due = [entry for entry in self.due if entry[0] <= until]
        self.due = [entry for entry in self.due if entry[0] > until]
        for _, function in due:
            function()
        return [seconds for seconds, _ in due]


class Consumer:
    """One whose broker takes a new count for the consumers that are begun after it."""

    initial_prefetch_count = 2

    def __init__(self, driver: str = "amqp", qos_global: bool | None = False) -> None:
        self.app = Celery("prefetch", broker="memory://", set_as_current=False)
        self.connection = SimpleNamespace(transport=SimpleNamespace(driver_type=driver))
        self.qos_global = qos_global
        self.blueprint = SimpleNamespace(state=RUN)
        self.timer = Timer()
        self.task_consumer: Any = self
        self.acts: list[Any] = []
        self.begin()

    def begin(self) -> None:
        self.qos = QoS(self.set_count, self.initial_prefetch_count)

    def set_count(self, prefetch_count: int) -> None:
        self.acts.append(prefetch_count)

    def cancel(self) -> None:
        self.acts.append("cancel")

    def consume(self) -> None:
        self.acts.append("consume")

    def call_soon(self, function: Any, *args: Any) -> None:
        function(*args)


def hold(consumer: Consumer, prefetch: Prefetch, count: int) -> None:
    for _ in range(abs(count)):
        (consumer.qos.increment_eventually if count > 0 else consumer.qos.decrement_eventually)()
        prefetch.follow(consumer)


def test_messages_are_consumed_anew_once_for_all_that_are_held() -> None:
    consumer, prefetch = Consumer(), Prefetch()
    hold(consumer, prefetch, 3)
    assert consumer.acts == []
    assert consumer.timer.fire() == [SOON]
    assert consumer.acts == ["cancel", 5, "consume"]
    assert consumer.timer.fire() == []


def test_a_count_that_the_loop_has_told_already_counts_for_the_consumer_that_is_begun_next() -> None:
    consumer, prefetch = Consumer(), Prefetch()
    hold(consumer, prefetch, 1)
    consumer.qos.update()
    consumer.timer.fire()
    assert consumer.acts == [3, "cancel", "consume"]


def test_what_comes_and_goes_changes_nothing_and_a_count_falls_later() -> None:
    consumer, prefetch = Consumer(), Prefetch()
    hold(consumer, prefetch, 2)
    consumer.timer.fire()
    consumer.acts.clear()
    for _ in range(3):
        hold(consumer, prefetch, -1)
        consumer.timer.fire(SOON)
        hold(consumer, prefetch, 1)
    assert consumer.timer.fire() == [LATER]
    assert consumer.acts == []
    hold(consumer, prefetch, -2)
    assert (consumer.timer.fire(SOON), consumer.timer.fire()) == ([], [LATER])
    assert consumer.acts == ["cancel", 2, "consume"]


def test_a_count_that_is_to_fall_later_rises_at_once() -> None:
    consumer, prefetch = Consumer(), Prefetch()
    hold(consumer, prefetch, 2)
    consumer.timer.fire()
    consumer.acts.clear()
    hold(consumer, prefetch, -1)
    hold(consumer, prefetch, 3)
    assert consumer.timer.fire(SOON) == [SOON]
    assert consumer.acts == ["cancel", 6, "consume"]


@pytest.mark.parametrize("end", ["closes", "consumes no more", "is another"])
def test_a_consumer_that_is_not_what_it_was_is_left_alone(end: str) -> None:
    consumer, prefetch = Consumer(), Prefetch()
    hold(consumer, prefetch, 1)
    if end == "closes":
        consumer.blueprint.state = CLOSE
    elif end == "consumes no more":
        consumer.task_consumer = None
    else:
        consumer.begin()
    consumer.timer.fire()
    assert consumer.acts == []


def test_a_new_connection_begins_anew() -> None:
    consumer, prefetch = Consumer(), Prefetch()
    hold(consumer, prefetch, 3)
    consumer.begin()
    hold(consumer, prefetch, 1)
    consumer.timer.fire()
    assert consumer.acts == ["cancel", 3, "consume"]


@pytest.mark.parametrize(
    ("driver", "qos_global", "keeps"),
    [("amqp", False, True), ("amqp", True, False), ("redis", False, False), ("amqp", None, False)],
)
def test_only_where_a_count_is_each_consumers_own(driver: str, qos_global: bool | None, keeps: bool) -> None:
    consumer = Consumer(driver, qos_global)
    assert keeps_count(consumer) is keeps
    prefetch = Prefetch()
    hold(consumer, prefetch, 1)
    assert (consumer.timer.fire() != []) is keeps


def test_before_celery_says_so_quorum_queues_are_looked_for() -> None:
    consumer = Consumer(qos_global=None)
    consumer.app.conf.task_default_queue_type = "quorum"
    assert keeps_count(consumer)
    consumer.app.conf.worker_detect_quorum_queues = False
    assert not keeps_count(consumer)


def test_a_connection_that_is_gone_is_none_of_them() -> None:
    consumer = Consumer()
    consumer.connection = None  # type: ignore[assignment]
    assert not keeps_count(consumer)
