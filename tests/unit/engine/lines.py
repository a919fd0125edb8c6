"""A broker that is a list, below kombu's own producer: ``sick`` queues and a broken line raise what a test says."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from amqp.exceptions import ChannelError
from kombu import Producer
from kombu.exceptions import BatchPublishError
from redis.exceptions import ResponseError

from celery_legion.codec import Message
from celery_legion.engine.dispatch import Dispatch
from celery_legion.engine.publisher import Publisher


class Line:
    """A connection, its transport and its channel in one; ``server`` says what gets through."""

    connection_errors = (ConnectionError, KeyError)
    channel_errors = (ChannelError, ResponseError)

    def __init__(self, server: Server) -> None:
        self.server = server
        self.driver_type = self.transport_cls = server.driver
        self.alt = ()
        self.transport = self.connection = self.client = self
        self.connected = True
        self.events: dict[str, set[Any]] = defaultdict(set)
        self.buffer: list[str] | None = None

    def ensure_connection(self, max_retries: int = 0) -> None:
        self.server.connections += 1
        if self.server.gone:
            raise ConnectionRefusedError

    def channel(self) -> Line:
        return self

    def collect(self, socket_timeout: float) -> None:
        """Nothing to close."""

    def as_uri(self) -> str:
        return f"{self.driver_type}://fake"

    def prepare_message(self, body: Any, priority: Any, kind: Any, encoding: Any, headers: Any, properties: Any) -> Any:
        return properties["correlation_id"]

    def basic_publish(self, message: Any, *, exchange: str, routing_key: str, mandatory: bool, **_: Any) -> None:
        self.server.tries += 1
        if self.server.mute:
            raise ConnectionResetError("no memory")
        if sick := self.server.sick.get(routing_key):
            raise sick
        if routing_key in self.server.unroutable:
            if mandatory:
                for told in self.events["basic_return"]:
                    told(ChannelError("NO_ROUTE"), exchange, routing_key, message)
            return
        (self.server.arrived if self.buffer is None else self.buffer).append(message)


class LineProducer(Producer):
    """Kombu's, with batches as the server has them."""

    @property
    def supports_batch_publish(self) -> bool:
        return getattr(self.channel, "server", None) is not None and self.channel.server.batches

    @contextmanager
    def batch(self, max_size: int) -> Any:
        session = Session(self.channel)
        self._batch_local.current = SimpleNamespace(session=session if self.channel.server.tells else None)
        try:
            yield
        finally:
            del self._batch_local.current
            self.channel.buffer = None
        if session._buffered:
            try:
                session.execute()
            except Exception as exc:
                raise BatchPublishError("delivery is uncertain") from exc

    def _publish(self, *args: Any, **kwargs: Any) -> Any:
        # Past kombu's own batches.
        current = self._batch_local.__dict__.pop("current", None)
        try:
            return super()._publish(*args, **kwargs)
        finally:
            if current is not None:
                self._batch_local.current = current


class Session:
    """What is held until it is flushed, and the pipeline that flushes it."""

    def __init__(self, line: Line) -> None:
        self.server, self.pipeline = line.server, self
        self.held = line.buffer = []
        self.flushed = False

    @property
    def _buffered(self) -> int:
        return 0 if self.flushed else len(self.held)

    @_buffered.setter
    def _buffered(self, count: int) -> None:
        self.flushed = not count

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        self.server.flushes += 1
        if self.server.loses_batches is not None:
            raise self.server.loses_batches
        answers = [self.server.refuses.get(message.partition("-")[0], 1) for message in self.held]
        self.server.arrived += [message for message, one in zip(self.held, answers, strict=True) if one == 1]
        if raise_on_error and (wrong := [one for one in answers if one != 1]):
            raise wrong[0]
        return answers


class Server:
    """The broker and the app's way to it. ``mute`` takes connections and no messages.

    ``refuses`` says what it answers for some queues when a batch is flushed; its client ``tells`` which they are.
    """

    Producer = LineProducer

    def __init__(self, batches: bool = False, driver: str = "redis") -> None:
        self.batches, self.driver = batches, driver
        self.gone = self.mute = False
        self.loses_batches: Exception | None = None
        self.refuses: dict[str, Exception] = {}
        self.tells = True
        self.flushes = 0
        self.sick: dict[str, Exception] = {}
        self.unroutable: set[str] = set()
        self.connections = self.tries = 0
        self.arrived: list[str] = []
        self.conf = self
        self.broker_transport_options: dict[str, Any] = {}
        self.amqp = self
        self.queues: dict[str, Any] = {}
        self.tasks: dict[str, Any] = {}
        self.routes: tuple[Any, ...] = ()

    def set_current(self) -> None:
        """It is nobody's current app."""

    def connection_for_write(self, url: str | None = None, **options: Any) -> Line:
        return Line(self)


class Bench:
    """A publisher over such a broker. ``raises`` says what making a job's message raises."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.time = 0.0
        self.publisher = Publisher(server, timedelta(seconds=4), lambda: self.time)
        self.raises: dict[str, Exception] = {}
        self.takes: dict[str, float] = {}
        self.declare: list[Any] = []
        self.count = 0
        self.made: list[str] = []
        self.known: list[str] = []

    def dispatches(self, *jobs: str) -> list[Dispatch]:
        self.count += 1
        return [Dispatch(run_id=f"{job}-{self.count}", job=job, message=Message(task="t"), header=None) for job in jobs]

    def publish(self, *jobs: str) -> list[Dispatch]:
        made = self.dispatches(*jobs)
        self.known = self.publisher.publish(made, self.send)
        return made

    def send(self, dispatch: Dispatch, producer: Any) -> None:
        """Make a message as a task's ``apply_async`` does: its queue is the job's name."""
        self.made.append(dispatch.run_id)
        self.time += self.takes.get(dispatch.job, 0.0)
        if (error := self.raises.get(dispatch.job)) is not None:
            raise error
        producer.publish({}, routing_key=dispatch.job, correlation_id=dispatch.run_id, declare=list(self.declare))
