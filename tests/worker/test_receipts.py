"""Messages that a task's own strategy takes: the worker says that it has them, and that they have come."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state

from celery_legion.stores.base import Renewal
from celery_legion.worker import receipts as module
from celery_legion.worker.backlog import Backlog
from celery_legion.worker.receipts import Receipts
from celery_legion.worker.renewal import Renewer, answers_remotely
from tests.worker.doubles import GO, HEADER, Bench


@pytest.fixture(autouse=True)
def clean_books() -> Iterator[None]:
    state.reset_state()
    yield
    state.reset_state()


class Gathering:
    """A strategy that keeps messages until somebody acknowledges them, as those do that execute tasks in batches."""

    def __init__(self) -> None:
        self.taken: list[Any] = []

    def __call__(self, message: Any, body: Any, ack: Any) -> str:
        self.taken.append(message)
        return "taken"


class Message:
    def __init__(self, run_id: str | None, legion: Any = None, **properties: Any) -> None:
        self.headers = {"id": run_id, "legion": legion} if run_id is not None else {"legion": legion}
        self.properties = properties
        self.acknowledged = False


class Worker:
    """A worker with one ordinary task and one with a strategy of its own."""

    def __init__(self) -> None:
        self.bench = Bench(GO)
        self.gathering = Gathering()

        @self.bench.app.task(name="batch", shared=False, Strategy=f"{__name__}:Gathering")
        def batch() -> None: ...

        self.renewer = Renewer(self.bench.context, Backlog(), self.bench.begun)
        self.consumer: Any = self.bench.consumer
        self.renewer.consumer = self.consumer
        self.consumer.task_buckets = {}
        self.ordinary = object()
        self.connect()

    def connect(self) -> None:
        self.consumer.strategies = {"job": self.ordinary, "batch": self.gathering, "gone": object()}
        self.renewer.receipts.watch(self.consumer)

    def receive(self, message: Any) -> None:
        assert self.consumer.strategies["batch"](message, None, ack=None) == "taken"

    def renewed(self) -> list[tuple[str, bool]]:
        self.bench.store.renewed.clear()
        self.renewer.beat()
        assert all(renewal.token == 0 for renewal in self.bench.store.renewed)
        return [(renewal.id, renewal.accepted) for renewal in self.bench.store.renewed]


def test_what_is_held_is_shown_and_what_was_acknowledged_is_told_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    time = SimpleNamespace(seconds=0.0, monotonic=lambda: time.seconds)
    monkeypatch.setattr(module, "time", time)
    worker = Worker()
    first, second = Message("a", HEADER.dump()), Message(None, HEADER.dump(), correlation_id="b")
    for message in (first, second, Message("plain"), Message(None, HEADER.dump())):
        worker.receive(message)
    assert len(worker.gathering.taken) == 4
    assert sorted(worker.renewed()) == [("a", False), ("b", False)]
    first.acknowledged = True
    assert worker.renewed() == [("b", False), ("a", True)]
    time.seconds = 59.0
    assert worker.renewed() == [("b", False), ("a", True)]
    time.seconds = 61.0
    assert worker.renewed() == [("b", False)]


def test_what_came_on_an_earlier_connection_is_not_held_any_more() -> None:
    worker = Worker()
    worker.receive(Message("a", HEADER.dump()))
    worker.connect()
    assert worker.renewed() == []
    worker.receive(Message("a", HEADER.dump()))
    assert worker.renewed() == [("a", False)]


def test_ordinary_tasks_are_left_as_they_are() -> None:
    worker = Worker()
    assert worker.consumer.strategies["job"] is worker.ordinary


def test_each_that_is_received_counts_against_idleness_and_fills_the_prefetch_count() -> None:
    received: list[int] = []
    receipts = Receipts(lambda: received.append(1), 60)
    worker = Worker()
    worker.renewer.receipts = receipts
    worker.connect()
    for run_id in "ab":
        worker.receive(Message(run_id, HEADER.dump()))
    worker.receive(Message("plain"))
    assert (len(received), receipts.count()) == (3, 2)


def test_one_that_has_begun_all_the_same_is_renewed_as_begun() -> None:
    worker = Worker()
    request = worker.bench.request("a")
    state.task_reserved(request)
    assert request.revoked() is False
    message = Message("a", HEADER.dump())
    worker.receive(message)
    message.acknowledged = True
    worker.renewer.beat()
    assert worker.bench.store.renewed == [Renewal(id="a", token=7, accepted=False)]


@pytest.mark.parametrize(("enabled", "fanout"), [(True, True), (True, False), (False, True)])
def test_a_worker_answers_remote_control_where_it_is_on_and_the_broker_carries_it(enabled: bool, fanout: bool) -> None:
    bench = Bench(GO)
    bench.app.conf.worker_enable_remote_control = enabled
    consumer: Any = bench.consumer
    consumer.conninfo = SimpleNamespace(supports_exchange_type=lambda name: fanout and name == "fanout")
    assert answers_remotely(consumer) is (enabled and fanout)
