"""Tasks with a strategy of their own: what passes the gate by is unwatched, what does not is guarded as ever."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery.app.task import Task
from celery.worker import state
from celery.worker.strategy import default

from celery_legion.header import KEY
from celery_legion.run import State
from celery_legion.worker.acts import Act, End
from celery_legion.worker.strategies import Strategies
from tests.servers.polling import eventually
from tests.worker.doubles import GO, Bench, FakeMessage
from tests.worker.trial import Trial

Receive = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def clean_books() -> Any:
    state.reset_state()
    yield
    state.reset_state()


class Followed:
    """A consumer whose task receives messages by *receive*, followed."""

    def __init__(self, receive: Receive) -> None:
        self.bench = Bench(GO)
        self.task = self.bench.task
        self.task.Strategy = lambda *_: receive
        self.acts: list[Act] = []
        self.queue: list[Any] = []
        self.consumer: Any = SimpleNamespace(
            app=self.bench.app,
            strategies={"job": lambda message, *_: receive(message), "other": None},
            timer=SimpleNamespace(schedule=SimpleNamespace(queue=self.queue)),
            task_buckets={},
            apply_eta_task=lambda request: None,
            _limit_post_eta=lambda request, bucket, tokens: None,
        )
        Strategies(self.bench.gate, self.acts.append).follow(self.consumer)

    def receive(self, header: bool = True) -> FakeMessage:
        fields = {"id": "run-1", "task": "job"}
        message = FakeMessage({**fields, KEY: self.bench.header.dump()} if header else fields)
        self.consumer.strategies["job"](message, None)
        return message

    @property
    def unwatched(self) -> bool:
        for act in self.acts:
            assert isinstance(act, End)
            assert (act.run_id, act.token, act.outcome.state, act.outcome.reason) == (
                "run-1",
                0,
                State.SENT,
                "unwatched",
            )
        return len(self.acts) == 1


def test_a_message_that_nobody_guards_is_unwatched_and_no_run_of_ours_any_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = []
    followed = Followed(lambda message: made.append(followed.bench.request(**message.headers)))
    message = followed.receive()
    assert followed.unwatched
    assert KEY not in message.headers
    # Whenever it is executed, it is as one without a header: not dropped for the copy of a run that has ended.
    assert KEY not in made[0].request_dict
    assert followed.bench.gate.refuses(made[0]) is False
    followed.receive()
    assert caplog.text.count("strategy of its own") == 1


def test_a_message_without_a_request_of_ours_is_unwatched() -> None:
    followed = Followed(lambda _: None)
    received: list[int] = []
    followed.bench.gate.receive = lambda: received.append(1)
    followed.receive()
    assert followed.unwatched
    # A worker that receives is not idle.
    assert received == [1]


def test_a_message_without_a_header_is_none_of_our_business() -> None:
    followed = Followed(lambda _: None)
    followed.receive(header=False)
    assert followed.acts == []


def reserve(followed: Followed, request: Any) -> None:
    state.task_reserved(request)


def ask(followed: Followed, request: Any) -> None:
    state.task_reserved(request)
    request.revoked()
    state.reserved_requests.discard(request)


def delay(followed: Followed, request: Any) -> None:
    entry = SimpleNamespace(fun=followed.consumer.apply_eta_task, args=(request,))
    followed.queue.append(SimpleNamespace(entry=entry))


def limit(followed: Followed, request: Any) -> None:
    followed.consumer.task_buckets["job"] = SimpleNamespace(contents=[(request, 1)])


@pytest.mark.parametrize("way", [reserve, ask, delay, limit])
def test_a_strategy_that_goes_celerys_way_in_the_end_is_guarded(way: Callable[[Followed, Any], None]) -> None:
    kept = []

    def receive(message: Any) -> None:
        kept.append(followed.bench.request(header=message.headers[KEY]))
        way(followed, kept[-1])

    followed = Followed(receive)
    message = followed.receive()
    assert followed.acts == []
    assert KEY in message.headers


def test_celerys_own_strategy_is_left_as_it_is() -> None:
    bench = Bench(GO)
    consumer: Any = SimpleNamespace(app=bench.app, strategies={"job": default})
    assert bench.task.Strategy == Task.Strategy
    Strategies(bench.gate, lambda _: None).follow(consumer)
    assert consumer.strategies == {"job": default}


@pytest.mark.e2e
def test_runs_that_are_collected_are_executed_once_and_hold_no_lock(trial: Trial) -> None:
    worker = trial.worker("-c", "1")
    runs = []
    for _ in range(3):
        runs.append(trial.run("collect", job="flush"))
        eventually(lambda: not trial.locked(), 5, "the lock")
    eventually(lambda: len(trial.lines(event="collected")) == 3, 10, "the executions")
    assert [line["run"] for line in trial.lines(event="collected")] == runs
    assert {(trial.record(run).state, trial.record(run).reason) for run in runs} == {(State.SENT, "unwatched")}
    assert worker.output.count("strategy of its own") == 1
    assert trial.ended(trial.run("work")).state is State.SUCCEEDED
