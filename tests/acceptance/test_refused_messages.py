"""What real brokers refuse of one message: it hurts no other, and is named."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from kombu import Connection, Exchange, Queue
from kombu.common import Broadcast
from redis import Redis

from celery_legion import Scheduler
from celery_legion.codec import Message
from celery_legion.context import Context
from celery_legion.embedded import EmbeddedValkey
from celery_legion.engine.dispatch import Dispatch
from celery_legion.engine.publisher import Publisher
from celery_legion.stores.memory import MemoryStore
from tests.conftest import missing as not_here
from tests.servers.rabbitmq import SERVER, RabbitMQ

pytestmark = pytest.mark.e2e

Publish = Callable[..., list[Dispatch]]


def publisher(url: str, *queues: Queue) -> Publish:
    """Return what sends one message a given set of options, and returns what became of them."""
    app = Celery("refused", broker=url, set_as_current=False)
    app.conf.update(legion_store_url="memory://refused", result_expires=None, task_queues=(*queues, Queue("celery")))
    Context.of(app).use_store(MemoryStore())
    scheduler = Scheduler(app)
    made = Publisher(app, timedelta(seconds=4), time.monotonic)

    def publish(*options: dict[str, Any]) -> list[Dispatch]:
        dispatches = [
            Dispatch(run_id=str(uuid4()), job=f"j{number}", message=Message(task="t", options=one), header=None)
            for number, one in enumerate(options)
        ]
        known = made.publish(dispatches, scheduler._send)
        assert known == [one.run_id for one in dispatches if one.accepted]
        assert made.ready()
        return dispatches

    return publish


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQ]:
    if not SERVER.exists():
        not_here("RabbitMQ")
    with RabbitMQ() as server:
        yield server


class TestRabbitMQ:
    """Confirmed, returned and nacked."""

    def test_a_full_queue_nacks_and_takes_the_message_later(self, rabbitmq: RabbitMQ) -> None:
        full = Queue("full", queue_arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        publish = publisher(rabbitmq.url(), full)
        first, second, other = publish({"queue": "full"}, {"queue": "full"}, {})
        assert (first.accepted, second.accepted, other.accepted) == (True, False, True)
        assert (second.nacked, second.error) == (True, None)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"exchange": "amq.direct", "routing_key": "x"}, "no queue is bound to exchange 'amq.direct' with"),
            ({"exchange": "nobody", "routing_key": "x"}, "no exchange 'nobody'"),
            ({"exchange": "amq.direct", "routing_key": "x" * 300}, "255"),
            ({"headers": {"x": object()}}, "not handled by amqp"),
        ],
        ids=["no queue", "no exchange", "no such key", "no such header"],
    )
    def test_one_that_can_reach_no_queue_is_refused(
        self, rabbitmq: RabbitMQ, options: dict[str, Any], words: str
    ) -> None:
        publish = publisher(rabbitmq.url())
        [alone] = publish(options)
        assert words in str(alone.error)
        refused, good = publish(options, {})
        assert words in str(refused.error)
        assert (refused.accepted, good.accepted) == (False, True)

    def test_a_queue_that_has_gone_since_is_declared_again(self, rabbitmq: RabbitMQ) -> None:
        publish = publisher(rabbitmq.url(), Queue("brief", expires=60))
        publish({"queue": "brief"})
        with Connection(rabbitmq.url()) as connection:
            connection.channel().queue_delete("brief")
        [again, other] = publish({"queue": "brief"}, {})
        assert (again.accepted, again.error, other.accepted) == (True, None, True)

    def test_one_for_every_worker_where_none_listens_is_refused(self, rabbitmq: RabbitMQ) -> None:
        [alone] = publisher(rabbitmq.url(), Broadcast("everyone"))({"queue": "everyone"})
        assert "no queue is bound to exchange 'everyone'" in str(alone.error)


class TestRedis:
    """What a flush tells of each command."""

    @pytest.fixture(scope="class")
    def server(self) -> Iterator[EmbeddedValkey]:
        with EmbeddedValkey() as server:
            yield server

    def test_a_key_that_holds_no_list_is_that_messages_alone_and_nobodys_is_sent_twice(
        self, server: EmbeddedValkey
    ) -> None:
        Redis.from_url(server.url(0)).set("refused", "no list")
        publish = publisher(server.url(0))
        for count in (1, 2):
            first, refused, last = publish({}, {"queue": "refused"}, {})
            assert "WRONGTYPE" in str(refused.error)
            assert (first.accepted, last.accepted) == (True, True)
            assert Redis.from_url(server.url(0)).llen("celery") == 2 * count

    def test_an_exchange_without_queues_is_no_success(self, server: EmbeddedValkey) -> None:
        publish = publisher(server.url(0), Queue("bound", Exchange("known", type="direct"), "key"))
        wrong, right, nowhere = publish(
            {"exchange": "known", "routing_key": "other"},
            {"queue": "bound", "exchange": "known", "routing_key": "key"},
            {"exchange": "unknown", "routing_key": "key"},
        )
        assert "no queue is bound to exchange 'known' with routing key 'other'" in str(wrong.error)
        assert (right.accepted, right.error) == (True, None)
        assert "no queue is bound to exchange 'unknown'" in str(nowhere.error)

    def test_a_server_without_memory_refuses_nobody(self) -> None:
        from celery_legion.errors import BrokerUnavailableError

        with EmbeddedValkey() as server:
            publish = publisher(server.url(0))
            publish({})
            client = Redis.from_url(server.url(0))
            client.config_set("maxmemory", 1)
            with pytest.raises(BrokerUnavailableError, match="maxmemory"):
                publish({}, {})
