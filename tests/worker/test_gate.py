"""The gate's decisions, and what each does to Celery's books."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from celery.app.task import Context as TaskContext
from celery.bootsteps import CLOSE
from celery.worker import state
from celery.worker.request import Request

from celery_legion.errors import StoreUnavailableError
from celery_legion.stores.base import Admission, Answer
from celery_legion.worker import requests
from celery_legion.worker.current import read_run
from celery_legion.worker.gate import HELD_LIMIT, PAUSE, Gate
from celery_legion.worker.request import GuardedRequest
from tests.worker.doubles import FIRE, GO, Bench, FakeQoS

DUPLICATE = Answer(admission=Admission.DUPLICATE)
SUPERSEDED = Answer(admission=Admission.SUPERSEDED)
WAIT = Answer(admission=Admission.WAIT, wait=timedelta(seconds=1))


@pytest.fixture(autouse=True)
def clean_books() -> Iterator[None]:
    state.reset_state()
    yield
    state.reset_state()


def test_a_task_without_a_header_is_never_asked_about() -> None:
    bench = Bench(DUPLICATE)
    request = bench.request(header=None)
    state.task_reserved(request)
    assert request.revoked() is False
    assert bench.store.tickets == []


def test_nothing_is_asked_at_receipt() -> None:
    bench = Bench(DUPLICATE)
    assert bench.request().revoked() is False
    assert bench.store.tickets == []


def test_the_ticket_says_what_the_message_says() -> None:
    bench = Bench(GO)
    request = bench.request(retries=3)
    state.task_reserved(request)
    request.revoked()
    [ticket] = bench.store.tickets
    assert (ticket.id, ticket.job, ticket.fire_time, ticket.retries) == ("run-1", "nightly", FIRE, 3)
    assert (ticket.worker, ticket.lock, ticket.limit, ticket.late) == ("w@test", "nightly", 1, False)
    # What is in this process's memory is not delivered again.
    assert ticket.visibility == timedelta(0)


def test_go_hands_token_and_attempt_to_the_pool_process() -> None:
    bench = Bench(GO)
    request = bench.request()
    state.task_reserved(request)
    assert request.revoked() is False
    run = read_run(TaskContext(request.request_dict))
    assert run is not None
    assert (run.id, run.job, run.token, run.attempt, run.previous_success) == (
        "run-1",
        "nightly",
        7,
        2,
        FIRE - timedelta(days=1),
    )
    assert "token" not in request.message.headers["legion"]
    assert "run-1" in bench.begun


@pytest.mark.parametrize("answer", [DUPLICATE, SUPERSEDED])
def test_a_copy_is_acknowledged_and_the_running_one_is_found_again(answer: Answer) -> None:
    bench = Bench(answer)
    original, copy = bench.request(), bench.request()
    state.task_reserved(original)
    state.task_accepted(original)
    state.task_reserved(copy)
    assert state.requests["run-1"] is copy
    assert copy.revoked() is True
    assert copy.acknowledged
    assert not original.acknowledged
    assert state.requests["run-1"] is original
    assert copy not in state.reserved_requests


def test_a_message_that_waits_leaves_the_reserved_ones_and_comes_back() -> None:
    bench = Bench(WAIT, WAIT, GO)
    request = bench.request()
    state.task_reserved(request)
    assert request.revoked() is True
    assert request not in state.reserved_requests
    assert request in requests.scheduled_requests
    assert not request.acknowledged
    assert bench.consumer.qos.value == 5
    assert request._eta_timer_entry is not None
    first = bench.consumer.timer.calls[0][0]
    bench.consumer.timer.fire()
    assert bench.consumer.requested == [request]
    assert request in state.reserved_requests
    assert bench.consumer.qos.value == 4
    assert request.revoked() is True
    assert first < bench.consumer.timer.calls[0][0] <= 1
    bench.consumer.timer.fire()
    assert request.revoked() is False
    assert bench.consumer.qos.value == 4
    assert len({ticket.asker for ticket in bench.store.tickets}) == 1


def test_two_copies_ask_under_different_names() -> None:
    bench = Bench(DUPLICATE)
    for request in (bench.request(), bench.request()):
        state.task_reserved(request)
        request.revoked()
    assert len({ticket.asker for ticket in bench.store.tickets}) == 2


def test_terminating_a_waiting_copy_terminates_the_running_one(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(WAIT)
    original, copy = bench.request(), bench.request()
    state.task_reserved(original)
    original.time_start = 1.0
    state.task_accepted(original)
    state.task_reserved(copy)
    copy.revoked()
    assert state.requests["run-1"] is original
    terminated = []
    monkeypatch.setattr(Request, "terminate", lambda self, pool, signal=None: terminated.append(self))
    copy.terminate(None, "TERM")
    assert terminated == [original]


def test_no_more_than_a_bounded_number_of_waiting_messages_raises_the_prefetch_count() -> None:
    bench = Bench(WAIT)
    requests = [bench.request(f"run-{number}") for number in range(HELD_LIMIT + 5)]
    for request in requests:
        state.task_reserved(request)
        request.revoked()
    assert bench.consumer.qos.value == 4 + HELD_LIMIT
    bench.consumer.timer.fire()
    assert bench.consumer.qos.value == 4


def test_a_consumer_that_began_anew_counts_its_waiting_messages_anew() -> None:
    bench = Bench(WAIT)
    old, new = bench.request("old"), bench.request("new")
    for request in (old, new):
        state.task_reserved(request)
    old.revoked()
    bench.consumer.qos = FakeQoS()
    new.revoked()
    bench.consumer.timer.fire()
    assert bench.consumer.qos.value == 4


def test_a_closing_consumer_begins_nothing_that_waited() -> None:
    bench = Bench(WAIT)
    request = bench.request()
    state.task_reserved(request)
    request.revoked()
    bench.consumer.blueprint.state = CLOSE
    bench.consumer.timer.fire()
    assert bench.consumer.requested == []
    assert not request.acknowledged


def test_a_silent_store_is_asked_once_and_everything_waits() -> None:
    bench = Bench(GO)
    bench.store.silent = True
    requests = [bench.request(f"run-{number}") for number in range(5)]
    for request in requests:
        state.task_reserved(request)
        assert request.revoked() is True
        assert not request.acknowledged
    assert len(bench.store.tickets) == 1
    assert all(PAUSE <= seconds <= PAUSE * 1.1 for seconds, _, _ in bench.consumer.timer.calls)
    bench.clock.seconds += PAUSE * 1.1
    bench.store.silent = False
    bench.consumer.timer.fire()
    assert [request.revoked() for request in requests] == [False] * 5


@pytest.mark.parametrize(
    ("problem", "asked"), [(StoreUnavailableError("fake://", "it is away"), 1), (KeyError("x"), 5)]
)
def test_whose_run_it_is_is_asked_no_more_often_than_whether_it_may_run(
    monkeypatch: pytest.MonkeyPatch, problem: Exception, asked: int
) -> None:
    bench = Bench(GO)
    asks: list[str] = []

    def serves(run_id: str, prefix: str | None) -> bool:
        asks.append(run_id)
        raise problem

    monkeypatch.setattr(bench.gate.keyspace, "serves", serves)
    for number in range(5):
        request = bench.request(f"run-{number}")
        state.task_reserved(request)
        assert request.revoked() is True
        assert not request.acknowledged
    assert len(asks) == asked
    assert bench.store.tickets == []


def test_an_unexpected_error_of_a_store_is_no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(GO)
    monkeypatch.setattr(bench.store, "begin", lambda ticket: 1 / 0)
    request = bench.request()
    state.task_reserved(request)
    assert request.revoked() is True
    assert not request.acknowledged


@pytest.mark.parametrize("header", [{"v": 99}, "text", {"v": 1, "job": "nightly"}])
def test_a_malformed_header_is_acknowledged_and_not_executed(header: object, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(GO)
    request = bench.request(header=header)
    state.task_reserved(request)
    assert request.revoked() is True
    assert request.acknowledged
    assert bench.store.tickets == []
    assert "is not executed" in caplog.text


def test_a_header_of_the_first_protocol_is_found() -> None:
    bench = Bench(DUPLICATE)
    request = bench.request(header=None, headers={"legion": bench.request().request_dict["legion"]})
    state.task_reserved(request)
    assert request.revoked() is True
    assert len(bench.store.tickets) == 1


def test_a_task_keeps_its_own_request_class_underneath() -> None:
    class Own(Request):
        pass

    bench = Bench(GO)
    bench.task.Request = Own
    bench.guard.apply({"job": bench.task})
    first = bench.task.Request
    bench.guard.apply({"job": bench.task})
    assert issubclass(first, Own)
    assert issubclass(first, GuardedRequest)
    assert bench.task.Request is first
    assert type(bench.task).Request != first


def test_a_message_that_comes_again_while_it_waits_is_said_once_with_what_to_set(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(Answer(admission=Admission.WAIT, wait=timedelta(seconds=1)))
    bench.app.conf.broker_url = bench.app.conf.broker_read_url = "azureservicebus://name:key@space"
    gate = Gate(bench.context, bench.gate.store, bench.begun)
    gate.consumer = bench.consumer
    request = bench.request()
    for _ in range(70):
        state.task_reserved(request)
        assert gate.refuses(request)
        assert ("use_lock_renewal" in caplog.text) is (request.passage.waits > 60)
    assert caplog.text.count("use_lock_renewal") == 1
