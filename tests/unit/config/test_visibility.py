"""For how long each of kombu's transports hides a message, and numbers that nobody can count with."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any, cast

import pytest
from celery import Celery
from kombu.transport import TRANSPORT_ALIASES

from celery_legion.config import Config
from celery_legion.context import Context
from celery_legion.stores.base import RunStore
from celery_legion.visibility import BY_CONNECTION, NEVER, TRANSPORTS, unrenewed, visibility_of
from celery_legion.worker.begun import BegunRuns
from celery_legion.worker.gate import Gate


def app(broker: Any, **options: Any) -> Celery:
    made = Celery("shop", broker=broker, set_as_current=False)
    made.conf.update(broker_transport_options=options, legion_store_url="memory://visibility")
    return made


@pytest.mark.parametrize(
    ("broker", "options", "seconds"),
    [
        ("redis://h/0", {}, 3600),
        ("redis://h/0", {"visibility_timeout": 43200}, 43200),
        ("redis+socket:///run/redis.sock", {"visibility_timeout": "900"}, 900),
        ("sentinel://h:26379", {"visibility_timeout": timedelta(minutes=5)}, 300),
        ("redis://h/0", {"visibility_timeout": ""}, 3600),
        ("SQS://", {}, 1800),
        ("sqs://", {"visibility_timeout": 60}, 60),
        ("pgmq://h/db", {}, 1800),
        ("gcpubsub://projects/p", {}, 240),
        ("gcpubsub://projects/p", {"ack_deadline_seconds": 30}, 30),
        ("azureservicebus://name:key@space", {}, 60),
        ("azureservicebus://name:key@space", {"peek_lock_seconds": 300, "visibility_timeout": 7}, 300),
        ("amqp://h//", {}, 240),
        (["amqps://h//", "amqps://i//"], {"visibility_timeout": 7}, 240),
        ("pyamqp://h;pyamqp://i", {}, 240),
        ("sqla+sqlite:///x", {"visibility_timeout": 7}, 0),
        ("filesystem://", {}, 0),
        ("memory://", {}, 0),
        ("mongodb://h/db", {}, 0),
        ("shop.brokers:Transport://h", {}, 3600),
    ],
)
def test_each_transport_has_its_own(broker: Any, options: dict[str, Any], seconds: float) -> None:
    found = visibility_of(app(broker, **options))
    assert (found.span.total_seconds(), found.problem) == (seconds, None)


def test_no_transport_of_kombus_is_forgotten() -> None:
    assert {name.lower() for name in TRANSPORT_ALIASES} - TRANSPORTS.keys() - BY_CONNECTION == set()


@pytest.mark.parametrize("heartbeat", [None, 0, 30])
def test_a_dead_connection_is_found_out_within_two_heartbeats(heartbeat: float | None) -> None:
    made = app("amqp://h//")
    made.conf.broker_heartbeat = heartbeat
    assert visibility_of(made).span == 2 * timedelta(seconds=heartbeat or 120)


@pytest.mark.parametrize(
    ("value", "span", "said"),
    [
        (float("inf"), NEVER, True),
        ("inf", NEVER, True),
        (10**12, NEVER, True),
        (10**400, NEVER, True),
        (float("nan"), timedelta(hours=1), True),
        ("an hour", timedelta(hours=1), True),
        ([5], timedelta(hours=1), True),
        (0, timedelta(0), False),
        (-5, timedelta(0), False),
        (float("-inf"), timedelta(0), False),
    ],
)
def test_a_number_without_bound_ends_no_worker_and_is_said(
    value: Any, span: timedelta, said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    made = app("redis://h/0", visibility_timeout=value)
    found = visibility_of(made)
    assert found.span == span
    with caplog.at_level(logging.WARNING):
        Gate(Context(made), cast(RunStore, None), BegunRuns())
    assert (found.problem is not None) is ("visibility_timeout" in caplog.text) is said
    assert Config.of(made).dedup_age == max(timedelta(days=1), 2 * span)


def test_only_azure_lets_a_message_come_again_while_it_is_waited_with() -> None:
    url = "azureservicebus://name:key@space"
    assert "use_lock_renewal" in str(unrenewed(app(url)))
    assert unrenewed(app(url, use_lock_renewal=True)) is None
    assert unrenewed(app("gcpubsub://projects/p")) is None
