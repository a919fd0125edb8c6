"""Two deployments of one project that share a store: each says that it sends elsewhere than the other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from celery_legion.engine import Engine
from celery_legion.engine.servers import place_of
from tests.unit.engine.bench import FakeClock

CURE = "if these are two deployments, give each a legion_key_prefix of its own"
STAGING = "queue staging at redis://localhost:6379/0"
CELERY = "queue celery at redis://localhost:6379/0"


def passes(clock: FakeClock, *engines: Engine, seconds: int = 1) -> None:
    for _ in range(seconds):
        clock.advance(timedelta(seconds=1))
        for engine in engines:
            engine.tick()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [text for text in caplog.messages if CURE in text]
    caplog.clear()
    return found


def test_both_say_it_at_most_twice_a_minute(
    make: Callable[..., Engine], clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    leader, standby = make(), make()
    standby.context.app.conf.task_default_queue = "staging"
    passes(clock, leader, standby, seconds=60)

    texts = said(caplog)
    leads = [text for text in texts if "leads under 'legion:shop'" in text]
    stands = [text for text in texts if "stands by under 'legion:shop'" in text]
    assert 1 <= len(leads) <= 2 and 1 <= len(stands) <= 2
    assert len(texts) == len(leads) + len(stands)
    assert f"sends to {CELERY}, while this one would send to {STAGING}" in leads[0]
    assert f"would send to {STAGING}, while this one sends to {CELERY}" in stands[0]


def test_schedulers_of_one_deployment_say_nothing(
    make: Callable[..., Engine], clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    leader, standby = make(), make()
    passes(clock, leader, standby, seconds=40)

    assert leader.epoch and not standby.epoch
    assert said(caplog) == []


@pytest.mark.parametrize(
    ("conf", "place"),
    [
        ({}, "queue celery at amqp://"),
        ({"broker_url": "redis://user:word@h:1/2"}, "queue celery at redis://h:1/2"),
        ({"broker_url": "amqp://u:p@a/v;amqp://u:p@b/v"}, "queue celery at amqp://a/v, amqp://b/v"),
        ({"broker_url": ["redis://a", "redis://b"]}, "queue celery at redis://a, redis://b"),
        ({"broker_url": "redis+socket://:p@/run/x.sock?virtual_host=1"}, "redis+socket:///run/x.sock?virtual_host=1"),
        ({"broker_url": "redis://h", "task_default_queue": "staging"}, "queue staging at redis://h"),
    ],
)
def test_a_place_is_queue_and_broker_without_who_connects(conf: dict[str, Any], place: str) -> None:
    app = Celery("shop", set_as_current=False)
    app.conf.update(conf)

    assert place_of(app).endswith(place)


@pytest.mark.parametrize(("broker", "warned"), [("memory://", 1), ("memory://localhost/", 1), ("redis://h", 0)])
def test_a_broker_in_memory_is_warned_of_by_who_leads(
    make: Callable[..., Engine], clock: FakeClock, caplog: pytest.LogCaptureFixture, broker: str, warned: int
) -> None:
    engine = make()
    engine.context.app.conf.update(broker_url=broker, legion_store_url="redis://h")
    passes(clock, engine, seconds=5)

    assert caplog.text.count("the broker is this process's memory: no worker in another process") == warned
