"""Who serves a queue: what workers answer, and what the broker counts."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from celery_legion.engine.line import Line
from celery_legion.engine.roll_call import call_roll


class NoControl:
    """The remote control of an app whose broker carries none."""

    def mailbox(self, connection: Any) -> Any:
        raise AssertionError("nobody can answer")


class Control:
    """The remote control of an app with one worker."""

    def mailbox(self, connection: Any) -> Any:
        return SimpleNamespace(multi_call=lambda *_, **__: [{"w@shop": [{"name": "celery"}, {"name": "mails"}]}])


@pytest.mark.parametrize(("url", "asks"), [("sqla+sqlite:///never-made", False), ("memory://", True)])
def test_workers_are_asked_for_their_queues_only_where_the_broker_carries_the_question(url: str, asks: bool) -> None:
    app = Celery("shop", broker=url, set_as_current=False)
    app.control = Control() if asks else NoControl()
    answers = call_roll(app, app.connection_for_write())
    assert answers == ({"w@shop": {"celery", "mails"}} if asks else {})


class NotFoundError(Exception):
    reply_code = 404


class CountingLine:
    """A connection to RabbitMQ on which a queue has *consumers*, or of which asking fails."""

    channel_errors = (NotFoundError,)

    def __init__(self, driver: str, consumers: int | Exception) -> None:
        self.driver_type, self.consumers = driver, consumers
        self.transport = self.default_channel = self

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


@pytest.mark.parametrize(
    ("driver", "consumers", "counted"),
    [("amqp", 3, 3), ("amqp", NotFoundError(), 0), ("amqp", OSError(), None), ("redis", 3, None)],
)
def test_rabbitmq_counts_the_consumers_of_a_queue(
    driver: str, consumers: int | Exception, counted: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = CountingLine(driver, consumers)
    line = Line(Celery("shop", set_as_current=False), timedelta(seconds=1), lambda: 0.0)
    monkeypatch.setattr(line, "_new_connection", lambda seconds: (found, driver))
    assert line.count_consumers("celery") == counted
