"""A worker says that it is idle only when nothing can be in its queues."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery.bootsteps import CLOSE
from celery.worker import state
from kombu.utils.limits import TokenBucket

from celery_legion.worker import idling as module
from celery_legion.worker import requests
from celery_legion.worker.backlog import Backlog
from celery_legion.worker.idling import NOT_IDLE, Idling
from celery_legion.worker.renewal import Renewer
from tests.worker.doubles import GO, Bench

SPAN = 1.0


@pytest.fixture(autouse=True)
def clean_books() -> Iterator[None]:
    state.reset_state()
    requests.scheduled_requests.clear()
    yield
    state.reset_state()
    requests.scheduled_requests.clear()


class Connection:
    """One that is up; to ask it whether it is costs a question to the server on some transports."""

    def __init__(self) -> None:
        self._connection: object = object()

    @property
    def connected(self) -> bool:
        raise AssertionError("the broker is asked")


class Time:
    def __init__(self) -> None:
        self.seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(module, "time", made)
    return made


def waiting(bench: Bench, slots: int = 2, prefetch: int = 8) -> Any:
    """Return a consumer that waits for messages."""
    consumer: Any = bench.consumer
    consumer.connection = Connection()
    consumer.task_consumer = object()
    consumer.pool = SimpleNamespace(num_processes=slots)
    consumer.qos.value = prefetch
    consumer.task_buckets = {}
    return consumer


def hold(bench: Bench, run_id: str, *, active: bool = False) -> Any:
    request = bench.request(run_id)
    state.task_reserved(request)
    if active:
        state.task_accepted(request)
    return request


def look_twice(consumer: Any, time: Time, between: Callable[[Idling], object] = lambda _: None) -> timedelta:
    idling = Idling(SPAN)
    idling.glance(consumer)
    between(idling)
    time.seconds += SPAN
    return idling.idle(consumer)


def test_one_that_has_received_nothing_between_two_glances_is_idle(time: Time) -> None:
    assert look_twice(waiting(Bench(GO)), time) == timedelta(seconds=SPAN)


def test_one_with_a_slot_left_is_idle_as_long_as_what_it_holds_is_executed(time: Time) -> None:
    bench = Bench(GO)
    running = hold(bench, "a", active=True)
    assert look_twice(waiting(bench), time) > NOT_IDLE
    assert running is not None


def test_one_glance_says_nothing_nor_do_two_close_ones(time: Time) -> None:
    idling, consumer = Idling(SPAN), waiting(Bench(GO))
    assert idling.idle(consumer) == NOT_IDLE
    idling.glance(consumer)
    time.seconds += SPAN / 2
    assert idling.idle(consumer) == NOT_IDLE
    time.seconds += SPAN / 2
    assert idling.idle(consumer) > NOT_IDLE


def test_one_that_has_received_a_message_meanwhile_is_not_idle(time: Time) -> None:
    assert look_twice(waiting(Bench(GO)), time, Idling.receive) == NOT_IDLE


def _reconnect(consumer: Any) -> None:
    consumer.connection = Connection()


def _lose_connection(consumer: Any) -> None:
    consumer.connection = None


def _break_connection(consumer: Any) -> None:
    consumer.connection._connection = None


def _stop_consuming(consumer: Any) -> None:
    consumer.task_consumer = None


def _close(consumer: Any) -> None:
    consumer.blueprint.state = CLOSE


def _take_apart(consumer: Any) -> None:
    consumer.qos = None


def _have_no_size(consumer: Any) -> None:
    consumer.pool = object()


@pytest.mark.parametrize(
    "change",
    [_reconnect, _lose_connection, _break_connection, _stop_consuming, _close, _take_apart, _have_no_size],
)
def test_one_whose_connection_or_consumer_is_not_what_it_was_is_not_idle(
    time: Time, change: Callable[[Any], None]
) -> None:
    bench = Bench(GO)
    consumer = waiting(bench)
    assert look_twice(consumer, time, lambda _: change(consumer)) == NOT_IDLE


def test_one_that_executes_as_much_as_it_can_is_not_idle(time: Time) -> None:
    bench = Bench(GO)
    running = [hold(bench, run_id, active=True) for run_id in "ab"]
    assert look_twice(waiting(bench), time) == NOT_IDLE
    assert len(running) == 2


def test_one_in_which_something_waits_is_not_idle(time: Time) -> None:
    bench = Bench(GO)
    request = hold(bench, "a")
    assert look_twice(waiting(bench), time) == NOT_IDLE
    assert request is not None


def test_one_whose_prefetch_count_is_filled_by_what_waits_for_its_time_is_not_idle(time: Time) -> None:
    bench = Bench(GO)
    held = [bench.request(run_id) for run_id in "abc"]
    for request in held:
        requests.schedule(request)
    assert look_twice(waiting(bench, prefetch=4), time) > NOT_IDLE
    assert look_twice(waiting(bench, prefetch=3), time) == NOT_IDLE
    assert look_twice(waiting(bench, prefetch=0), time) > NOT_IDLE


def test_one_whose_prefetch_count_is_filled_by_what_waits_for_its_rate_is_not_idle(time: Time) -> None:
    bench = Bench(GO)
    consumer = waiting(bench, prefetch=2)
    bucket = TokenBucket(1)
    for run_id in "ab":
        bucket.add((bench.request(run_id), 1))
    consumer.task_buckets = {"job": bucket, "other": None}
    assert look_twice(consumer, time) == NOT_IDLE


def test_a_run_that_waits_for_its_rate_is_renewed() -> None:
    bench = Bench(GO)
    bucket = TokenBucket(1)
    bucket.add((bench.request("limited"), 1))
    consumer: Any = bench.consumer
    consumer.task_buckets = {"job": bucket, "other": None}
    renewer = Renewer(bench.context, Backlog(), bench.begun)
    renewer.consumer = consumer
    renewer.beat()
    assert [(renewal.id, renewal.token) for renewal in bench.store.renewed] == [("limited", 0)]
    assert [worker.idle for worker in bench.store.workers] == [NOT_IDLE]


def test_each_message_that_is_received_counts() -> None:
    bench = Bench(GO)
    received: list[int] = []
    bench.gate.receive = lambda: received.append(1)
    bench.request("a")
    bench.request("plain", header=None)
    assert len(received) == 2
