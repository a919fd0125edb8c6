"""Connections that stay open and swallow everything: no tick is held up, and nothing is taken for sent that is not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from celery import Celery

from celery_legion import Legion
from celery_legion.beat import Scheduler
from celery_legion.context import Context
from celery_legion.embedded import EmbeddedValkey
from celery_legion.run import Record, State
from tests.acceptance.conftest import Shop
from tests.acceptance.outage import due_between, missing
from tests.servers.patience import patient
from tests.servers.polling import eventually
from tests.servers.proxy import Proxy

pytestmark = pytest.mark.e2e

TICK_BOUND = 10.0
SWALLOWED = 13.0
"""Long enough for the scheduler to try the broker several times."""


def through(proxy: Proxy, url: str, port: int) -> str:
    """Return *url* with the proxy's port instead of *port*."""
    return url.replace(f":{port}/", f":{proxy.port}/")


def ticks(scheduler: Scheduler, seconds: float) -> list[float]:
    """Tick as beat does for a while; return how long each took."""
    took = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.monotonic()
        delay = scheduler.tick()
        took.append(time.monotonic() - started)
        time.sleep(min(delay, 0.5))
    return took


def test_a_half_open_broker_never_holds_a_tick_and_every_claimed_run_is_executed_once(
    make_shop: Callable[..., Shop], servers: tuple[EmbeddedValkey, EmbeddedValkey]
) -> None:
    broker, store = servers
    shop = make_shop(broker.url(), store.url(), "")
    shop.worker()
    with Proxy(("127.0.0.1", broker.port)) as proxy:
        # The scheduler of the same app, in this process, with the settings' own bounds.
        app = Celery("acceptance", broker=through(proxy, broker.url(), broker.port), set_as_current=False)
        app.conf.update(legion_store_url=store.url(), result_expires=None)
        legion = Legion(app)
        for second in range(60):
            legion.task("entry", args=[f"spread-{second}"]).cron(f"* * * * * {second}").name(f"spread-{second}")
        legion.task("entry", args=["tick"]).every_second().name("tick").allow_overlapping()
        scheduler = Scheduler(app)

        def records() -> list[Record]:
            return Context.of(app).store.runs(None, 10_000)

        def executed() -> set[str]:
            return {line["id"] for line in shop.ledger.lines() if line["event"] == "start"}

        took = ticks(scheduler, 3)
        swallowed_from = time.time()
        proxy.blackhole()
        took += ticks(scheduler, SWALLOWED)
        found = records()
        waiting = {record.id for record in found if record.state is State.CLAIMED}
        confirmed = {record.id for record in found if record.id and record.state is not State.CLAIMED}
        assert len(waiting) >= 5
        assert len(confirmed) >= 4
        # The worker's own line is whole, so what is in the broker is executed now.
        eventually(lambda: confirmed <= executed(), 10, "the runs of all that was confirmed")
        assert not waiting & executed()
        due = due_between(swallowed_from, time.time())
        proxy.heal()
        end = time.monotonic() + 30
        while any(record.state is State.CLAIMED for record in records()) and time.monotonic() < end:
            took += ticks(scheduler, 0.5)
        assert scheduler.engine.epoch is not None
        scheduler.close()

    claimed = {record.id for record in records() if record.id}
    assert waiting <= claimed
    eventually(lambda: executed() == claimed, 20, "the runs of all that was claimed")
    assert missing(shop.ledger, due) == set()
    assert max(took) < TICK_BOUND
    jobs = {line["job"] for line in shop.ledger.lines()}
    assert {job: shop.ledger.doubles(job) for job in jobs if shop.ledger.doubles(job)} == {}
    assert {record.state for record in records() if record.id} == {State.SUCCEEDED}


@pytest.mark.parametrize("silent_from", ["start", "later"])
def test_a_half_open_result_backend_holds_nothing_up(
    silent_from: str, servers: tuple[EmbeddedValkey, EmbeddedValkey]
) -> None:
    broker, store = servers
    with Proxy(("127.0.0.1", store.port)) as proxy:
        if silent_from == "start":
            proxy.blackhole()
        scheduler = with_results(broker.url(), store.url(), through(proxy, store.url(1), store.port))
        queue = redis.Redis.from_url(broker.url())
        took = ticks(scheduler, 2)
        proxy.blackhole()
        before = queue.llen("celery")
        took += ticks(scheduler, 4)
        messages = [json.loads(text) for text in queue.lrange("celery", 0, -1)]
        scheduler.close()

    # Two jobs a second: one whose task the scheduler knows, and one that it sends by name.
    assert max(took) < patient(1)
    assert len(messages) - before >= 6
    assert {message["headers"]["task"] for message in messages} == {"known", "unknown"}


def with_results(broker: str, store: str, results: str) -> Scheduler:
    app = Celery("results", broker=broker, backend=results, set_as_current=False)

    @app.task(name="known")
    def known() -> Any:
        return None

    app.conf.update(
        legion_store_url=store,
        beat_schedule={name: {"task": name, "schedule": 1.0} for name in ("known", "unknown")},
    )
    return Scheduler(app)
