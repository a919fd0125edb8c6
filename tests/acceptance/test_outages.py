"""Broker, store and result backend away, half-open, and back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery

from celery_legion.beat import Scheduler
from celery_legion.context import Context
from celery_legion.embedded import EmbeddedValkey
from celery_legion.run import State
from tests.acceptance.conftest import Shop
from tests.servers.polling import eventually
from tests.servers.processes import Process
from tests.servers.proxy import Proxy

pytestmark = pytest.mark.e2e

AWAY = 20.0
TICK_BOUND = 10.0


def cpu_seconds(process: Process) -> float:
    """Return the processor time a process has used so far."""
    with open(f"/proc/{process.pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_what_falls_due_while_the_broker_is_away_is_sent_once_it_is_back(
    make_shop: Callable[..., Shop], servers: tuple[EmbeddedValkey, EmbeddedValkey]
) -> None:
    broker, store = servers
    shop = make_shop(broker.url(), store.url(), "spread")
    worker = shop.worker()
    beat = shop.beat()
    eventually(shop.ledger.lines, 20, "a first run")
    # An idle worker gets over a lost broker; one that works at this moment may not, with or without us.
    worker.terminate()
    broker.kill()
    away_from = time.time()
    used = cpu_seconds(beat)
    time.sleep(AWAY)
    assert cpu_seconds(beat) - used < 0.2 * AWAY
    back_at = time.time()
    broker.start()
    shop.worker()
    # The model: each second's job fell due at its second, and at no other of these twenty.
    due = {f"spread-{at % 60}": at for at in range(int(away_from) + 2, int(back_at))}
    assert len(due) >= AWAY - 3

    def ran() -> set[str]:
        return {job for job, at in due.items() if at in {int(line["fire"]) for line in shop.ledger.starts(job)}}

    eventually(lambda: ran() == set(due), 40, f"the runs of {sorted(due)}")
    assert {job: shop.ledger.doubles(job) for job in due if shop.ledger.doubles(job)} == {}
    assert beat.alive


def _at(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def scheduler(broker: str, store: str, results: str | None = None, **conf: Any) -> Scheduler:
    app = Celery("outage", broker=broker, backend=results, set_as_current=False)
    app.conf.update(
        legion_store_url=store,
        legion_store_timeout=1.0,
        legion_broker_timeout=2.0,
        legion_leader_lease=5.0,
        beat_schedule={f"j{n}": {"task": "t", "schedule": 1.0} for n in range(5)},
        result_expires=None,
        **conf,
    )
    Context.of(app).registry.guarded = False
    return Scheduler(app)


def timed_ticks(under_test: Scheduler, seconds: float) -> list[float]:
    """Tick as beat does for a while; return how long each took."""
    took = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.monotonic()
        delay = under_test.tick()
        took.append(time.monotonic() - started)
        time.sleep(min(delay, 0.5))
    return took


def test_a_half_open_broker_never_holds_a_tick_and_nothing_is_falsely_confirmed(
    servers: tuple[EmbeddedValkey, EmbeddedValkey],
) -> None:
    import redis

    broker, store = servers
    with Proxy(("127.0.0.1", broker.port)) as proxy:
        url = broker.url().replace(f":{broker.port}/", f":{proxy.port}/")
        under_test = scheduler(url, store.url())
        timed_ticks(under_test, 3)
        queue = redis.Redis.from_url(broker.url())
        assert queue.llen("celery") > 0
        proxy.blackhole()
        took = timed_ticks(under_test, 15)
        records = Context.of(under_test.app).store.runs(None, 1000)
        waiting = [record.id for record in records if record.state is State.CLAIMED]
        arrived = _ids(queue)
        confirmed = {record.id for record in records if record.state is State.SENT}
        proxy.heal()
        took += timed_ticks(under_test, 15)
        delivered = _ids(queue)
        under_test.close()

    assert max(took) < TICK_BOUND
    assert waiting
    assert confirmed <= arrived
    assert set(waiting) <= delivered


def _ids(queue: Any) -> set[str]:
    import json

    return {json.loads(text)["headers"]["id"] for text in queue.lrange("celery", 0, -1)}


def test_a_half_open_result_backend_holds_nothing_up(servers: tuple[EmbeddedValkey, EmbeddedValkey]) -> None:
    import redis

    broker, store = servers
    with Proxy(("127.0.0.1", store.port)) as proxy:
        results = store.url(1).replace(f":{store.port}/", f":{proxy.port}/")
        under_test = scheduler(broker.url(), store.url(), results)
        timed_ticks(under_test, 2)
        proxy.blackhole()
        queue = redis.Redis.from_url(broker.url())
        before = queue.llen("celery")
        took = timed_ticks(under_test, 6)
        after = queue.llen("celery")
        under_test.close()

    assert max(took) < 1
    assert after - before >= 20


def test_a_store_away_for_twenty_seconds_stops_nobody_and_everything_due_runs_once_afterwards(
    make_shop: Callable[..., Shop], servers: tuple[EmbeddedValkey, EmbeddedValkey]
) -> None:
    broker, store = servers
    shop = make_shop(broker.url(), store.url(), "tick")
    worker = shop.worker()
    beat = shop.beat()
    eventually(lambda: len(shop.ledger.starts("tick")) >= 3, 20, "first runs")
    store.kill()
    away_from = time.time()
    used = cpu_seconds(beat), cpu_seconds(worker)
    time.sleep(AWAY)
    spent = cpu_seconds(beat) - used[0], cpu_seconds(worker) - used[1]
    back_at = time.time()
    during = [line for line in shop.ledger.starts("tick") if away_from + 1 < line["at"] < back_at]
    store.start()
    eventually(lambda: shop.ledger.starts("tick")[-1]["at"] > back_at + 2, 30, "runs after the outage")

    assert beat.alive
    assert worker.alive
    assert during == []
    assert max(spent) < 0.2 * AWAY, spent
    assert shop.ledger.overlaps("tick") == []
    assert shop.ledger.doubles("tick") == {}
    records = shop.read("history", "tick", "--limit", "1000")
    missed = [record for record in records if record["reason"] == "catch_up"]
    assert sum(record["count"] for record in missed) >= AWAY - 10
    _assert_all_accounted(records)


def _assert_all_accounted(records: list[dict[str, Any]]) -> None:
    """Every second from the first record to the last is in exactly one of them."""
    first, last = min(_at(r["fire_time"]) for r in records), max(_at(r["last_fire_time"]) for r in records)
    assert sum(record["count"] for record in records) == round(last - first) + 1
