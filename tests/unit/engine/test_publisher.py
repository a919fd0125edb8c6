"""Known delivery: what is sent, what waits for the broker, and what is refused for its own sake."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from kombu.exceptions import BatchPublishError

from celery_legion.codec import Message
from celery_legion.engine.dispatch import Dispatch
from celery_legion.engine.publisher import LONGEST_PAUSE, Publisher
from celery_legion.errors import BrokerUnavailableError


class Line:
    """A connection, its channel and its producer in one; ``server`` says what gets through."""

    connection_errors = (ConnectionError,)
    channel_errors = (LookupError,)
    driver_type = "redis"

    def __init__(self, server: Server) -> None:
        self.server = server
        self.supports_batch_publish = server.batches
        self.transport = self

    def ensure_connection(self, max_retries: int) -> None:
        assert max_retries == 0
        self.server.connections += 1
        if self.server.gone:
            raise ConnectionRefusedError

    def channel(self) -> Line:
        return self

    def collect(self, socket_timeout: float) -> None:
        """Nothing to close."""

    def as_uri(self) -> str:
        return "redis://fake"

    @contextmanager
    def batch(self, max_size: int) -> Any:
        held: list[str] = []
        self.server.buffer = held
        try:
            yield
        finally:
            self.server.buffer = None
        if self.server.loses_batches:
            raise BatchPublishError("delivery is uncertain")
        self.server.arrived += held


class Server:
    """The broker and the app's way to it.

    ``mute`` takes connections and no messages; ``sick`` jobs raise by themselves.
    """

    def __init__(self, batches: bool) -> None:
        self.batches = batches
        self.gone = self.mute = self.loses_batches = False
        self.sick: dict[str, Exception] = {}
        self.connections = 0
        self.arrived: list[str] = []
        self.buffer: list[str] | None = None
        self.conf = self
        self.broker_transport_options: dict[str, Any] = {}
        self.amqp = self

    def connection_for_write(self, **options: Any) -> Line:
        return Line(self)

    def Producer(self, channel: Line, auto_declare: bool) -> Line:  # noqa: N802
        return channel

    def send_task_message(self, confirm_timeout: float) -> None:
        """Only its parameters are looked at."""

    def send(self, dispatch: Dispatch, producer: Line) -> None:
        if dispatch.job in self.sick:
            dispatch.error = self.sick[dispatch.job]
        elif self.mute:
            dispatch.error = ConnectionResetError("no memory")
        else:
            dispatch.accepted = True
            (self.arrived if self.buffer is None else self.buffer).append(dispatch.run_id)


class Bench:
    def __init__(self, batches: bool) -> None:
        self.server = Server(batches)
        self.time = 0.0
        self.publisher = Publisher(self.server, timedelta(seconds=4), lambda: self.time)
        self.count = 0

    def publish(self, *jobs: str) -> list[Dispatch]:
        self.count += 1
        made = [Dispatch(run_id=f"{job}-{self.count}", job=job, message=Message(task="t"), header=None) for job in jobs]
        self.known = self.publisher.publish(made, self.server.send)
        return made


@pytest.fixture(params=[True, False], ids=["batched", "one by one"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


def test_what_arrives_is_known(bench: Bench) -> None:
    bench.publish("a", "b")

    assert bench.known == bench.server.arrived == ["a-1", "b-1"]
    assert bench.server.connections == 1


def test_a_batch_whose_delivery_is_uncertain_is_not_known() -> None:
    bench = Bench(batches=True)
    bench.server.loses_batches = True

    with pytest.raises(BrokerUnavailableError) as caught:
        bench.publish("a", "b")
    assert caught.value.delivered == ()


def test_what_was_sent_one_by_one_before_the_line_broke_is_known() -> None:
    bench = Bench(batches=False)
    bench.server.sick["b"] = ConnectionResetError()

    with pytest.raises(BrokerUnavailableError) as caught:
        bench.publish("a", "b", "c")
    assert caught.value.delivered == ("a-1",)


def test_a_job_that_only_looks_like_a_broken_line_is_refused_and_holds_up_nobody(bench: Bench) -> None:
    bench.server.sick["sick"] = ConnectionError("its own")
    with pytest.raises(BrokerUnavailableError):
        bench.publish("sick", "a", "b")

    # Each time with another run of it, as each second's fire is.
    for _ in range(3):
        sick, *others = bench.publish("sick", "a", "b")
        assert [other.run_id for other in others] == bench.known
        assert sick.error is bench.server.sick["sick"]
    assert bench.publisher.broken is False


def test_a_job_that_was_suspected_and_passes_is_one_like_others_again(bench: Bench) -> None:
    bench.server.sick["sick"] = ConnectionError("for now")
    with pytest.raises(BrokerUnavailableError):
        bench.publish("sick", "a")
    del bench.server.sick["sick"]
    bench.publish("sick", "a")
    assert sorted(bench.known) == ["a-2", "sick-2"]
    bench.publish("sick", "a")

    assert bench.known == ["sick-3", "a-3"]


def test_a_broker_that_greets_and_takes_no_message_refuses_nobody(bench: Bench) -> None:
    bench.server.mute = True
    for _ in range(4):
        with pytest.raises(BrokerUnavailableError):
            bench.publish("alone")
    bench.server.mute = False
    [dispatch] = bench.publish("alone")

    assert (bench.known, dispatch.error) == ([dispatch.run_id], None)


def test_an_error_of_a_monitors_wrapper_is_the_messages_own(bench: Bench) -> None:
    send = bench.server.send

    def wrapped(dispatch: Dispatch, producer: Line) -> None:
        if dispatch.job == "b":
            raise ZeroDivisionError
        send(dispatch, producer)

    bench.server.send = wrapped  # type: ignore[method-assign]
    _, wrong, _ = bench.publish("a", "b", "c")

    assert bench.known == ["a-1", "c-1"]
    assert isinstance(wrong.error, ZeroDivisionError)


def test_pauses_grow_up_to_a_bound_and_end_with_the_first_success(bench: Bench) -> None:
    bench.server.gone = True
    pauses = []
    for _ in range(7):
        with pytest.raises(BrokerUnavailableError):
            bench.publish("a")
        assert not bench.publisher.ready()
        pauses.append(bench.publisher.retry_in())
        bench.time += pauses[-1]
        assert bench.publisher.ready()
    bench.server.gone = False
    bench.publish("a")

    assert pauses == [1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE]
    assert bench.publisher.broken is False


class NoControl:
    """The remote control of an app whose broker carries none."""

    def inspect(self, **_: Any) -> Any:
        raise AssertionError("nobody can answer")


@pytest.mark.parametrize(("url", "asks"), [("sqla+sqlite:///never-made", False), ("memory://", True)])
def test_workers_are_asked_for_their_queues_only_where_the_broker_carries_the_question(url: str, asks: bool) -> None:
    app = Celery("shop", broker=url, set_as_current=False)
    answers = {"w@shop": [{"name": "celery"}, {"name": "mails"}]}
    app.control = SimpleNamespace(inspect=lambda **_: SimpleNamespace(active_queues=lambda: answers))
    if not asks:
        app.control = NoControl()
    consumers = Publisher(app, timedelta(seconds=1), lambda: 0.0).consumers()
    assert consumers == ({"w@shop": {"celery", "mails"}} if asks else {})


class CountingLine:
    """A connection to RabbitMQ on which a queue has *consumers*, or of which asking fails."""

    def __init__(self, driver: str, consumers: int | Exception) -> None:
        self.driver_type, self.consumers = driver, consumers
        self.transport = self.default_channel = self
        self.conf = SimpleNamespace(broker_transport_options={})

    def connection_for_write(self, **_: Any) -> CountingLine:
        return self

    def __enter__(self) -> CountingLine:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def ensure_connection(self, max_retries: int) -> None:
        assert self.driver_type == "amqp"

    def queue_declare(self, queue: str, passive: bool) -> Any:
        assert (queue, passive) == ("celery", True)
        if isinstance(self.consumers, Exception):
            raise self.consumers
        return SimpleNamespace(consumer_count=self.consumers)


class NotFoundError(Exception):
    reply_code = 404


@pytest.mark.parametrize(
    ("driver", "consumers", "counted"),
    [("amqp", 3, 3), ("amqp", NotFoundError(), 0), ("amqp", OSError(), None), ("redis", 3, None)],
)
def test_rabbitmq_counts_the_consumers_of_a_queue(driver: str, consumers: int | Exception, counted: int | None) -> None:
    line = CountingLine(driver, consumers)
    assert Publisher(line, timedelta(seconds=1), lambda: 0.0).count_consumers("celery") == counted
