"""What a scheduler declares for countdowns that RabbitMQ waits for, and which countdowns it can send."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from kombu import Exchange, Queue
from kombu.common import Broadcast

from celery_legion.codec import Message
from celery_legion.engine.levels import LEAST, Levels, lengthened

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


class RefusedError(Exception):
    """The broker's refusal, for which it closes the channel."""


class Line:
    """A connection on which is noted what is declared; ``refused`` names queues of which it has another kind."""

    channel_errors = (RefusedError,)

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.refused: set[str] = set()
        self.channels = self.closed = 0

    def channel(self) -> Any:
        self.channels += 1
        return Channel(self)

    def names(self, call: str) -> list[str]:
        return [name for made, name in self.calls if made == call]


class Channel:
    is_open = True
    channel_id = 1

    def __init__(self, line: Line) -> None:
        self.line = line

    def exchange_declare(self, exchange: str, **_: Any) -> None:
        self.line.calls.append(("exchange", exchange))

    def queue_declare(self, queue: str, **_: Any) -> tuple[str, int, int]:
        if queue in self.line.refused:
            raise RefusedError(queue)
        self.line.calls.append(("queue", queue))
        return queue, 0, 0

    def prepare_queue_arguments(self, arguments: dict[str, Any], **_: Any) -> dict[str, Any]:
        return arguments

    def queue_bind(self, queue: str, exchange: str, **_: Any) -> None:
        self.line.calls.append(("bound", f"{queue} to {exchange}"))

    def exchange_bind(self, destination: str, source: str, **_: Any) -> None:
        self.line.calls.append(("bound", f"{destination} to {source}"))

    def close(self) -> None:
        self.line.closed += 1


def quorum(**conf: Any) -> Any:
    app = Celery("shop", broker="amqp://localhost//", set_as_current=False)
    app.conf.update({"task_default_queue_type": "quorum", "task_default_exchange_type": "topic", **conf})
    app.now = lambda: NOW
    return app


def message(**options: Any) -> Message:
    return Message(task="t", options=options)


LATER = message(eta=NOW + timedelta(minutes=1))


def test_the_levels_are_declared_and_queues_bound_to_their_end_once_a_connection() -> None:
    levels, line = Levels(quorum()), Line()
    levels.prepare(line, [message(), LATER])
    assert [name for name in line.names("queue") if name != "celery"] == [
        f"celery_delayed_{level}" for level in range(27, -1, -1)
    ]
    assert {"celery_delayed_27", "celery_delayed_delivery", "celery"} <= set(line.names("exchange"))
    assert line.names("bound")[-2:] == ["celery to celery_delayed_delivery", "celery to celery"]
    assert line.channels == line.closed == 2
    made = len(line.calls)
    levels.prepare(line, [LATER])
    assert len(line.calls) == made
    again = Line()
    levels.prepare(again, [LATER])
    assert len(again.calls) == made


def test_a_queue_that_comes_later_is_bound_when_it_has_come() -> None:
    app, line = quorum(), Line()
    levels = Levels(app)
    levels.prepare(line, [LATER])
    made = len(line.calls)
    app.amqp.queues.add(Queue("mails", Exchange("mails", type="topic"), routing_key="mails"))
    app.amqp.queues.add(Queue("straight", Exchange("straight", type="direct"), routing_key="straight"))
    app.amqp.queues.add(Broadcast("everyone"))
    levels.prepare(line, [LATER])
    assert {name for _, name in line.calls[made:]} == {"mails", "mails to celery_delayed_delivery", "mails to mails"}


def test_the_levels_are_declared_when_the_first_queue_that_needs_them_comes() -> None:
    app, line = quorum(task_default_exchange_type="direct"), Line()
    levels = Levels(app)
    levels.prepare(line, [LATER])
    assert line.calls == []
    app.amqp.queues.add(Queue("mails", Exchange("mails", type="topic"), routing_key="mails"))
    levels.prepare(line, [LATER])
    assert "celery_delayed_0" in line.names("queue")


@pytest.mark.parametrize("kind", ["classik", None])
def test_a_setting_that_kombu_does_not_take_holds_no_job_up(kind: object, caplog: pytest.LogCaptureFixture) -> None:
    app, line = quorum(broker_native_delayed_delivery_queue_type=kind), Line()
    Levels(app).prepare(line, [LATER])
    assert "the levels of delayed delivery cannot be declared" in caplog.text
    assert "queue_type must be either classic or quorum" in caplog.text
    assert "celery to celery_delayed_delivery" in line.names("bound")
    assert line.channels == line.closed


@pytest.mark.parametrize(
    ("app", "sent"),
    [
        pytest.param(quorum(), message(), id="no countdown"),
        pytest.param(quorum(task_default_queue_type="classic"), LATER, id="no quorum queue"),
        pytest.param(quorum(task_default_exchange_type="direct"), LATER, id="a direct exchange"),
        pytest.param(quorum(broker_url="redis://localhost"), LATER, id="another broker"),
    ],
)
def test_nothing_is_declared_where_the_levels_are_not_used(app: Any, sent: Message) -> None:
    line = Line()
    Levels(app).prepare(line, [sent])
    assert (line.calls, line.channels) == ([], 0)


def test_what_the_broker_refuses_is_said_and_keeps_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    app, line = quorum(), Line()
    app.amqp.queues.add(Queue("mails", Exchange("mails", type="topic"), routing_key="mails"))
    line.refused = {"celery", "celery_delayed_27"}
    Levels(app).prepare(line, [LATER])
    assert "mails to celery_delayed_delivery" in line.names("bound")
    assert "queue celery cannot be declared" in caplog.text
    assert "the levels of delayed delivery cannot be declared" in caplog.text


@pytest.mark.parametrize(
    ("countdown", "sent"),
    [(-1.0, -1.0), (0.0, 0.0), (0.01, LEAST.total_seconds()), (1.0, LEAST.total_seconds()), (2.0, 2.0), (90.0, 90.0)],
)
def test_a_countdown_of_under_a_second_is_made_one_that_can_be_sent(countdown: float, sent: float) -> None:
    given = message(eta=NOW + timedelta(seconds=countdown), priority=3)
    assert lengthened(quorum(), given) == message(eta=NOW + timedelta(seconds=sent), priority=3)
    assert lengthened(quorum(task_default_queue_type="classic"), given) is given


@pytest.mark.parametrize("eta", [None, "soon", datetime(2026, 3, 2, 12)])
def test_what_is_no_moment_is_left_as_it_is(eta: Any) -> None:
    given = message(eta=eta)
    assert lengthened(quorum(), given) is given
