"""The store goes away for a while, and comes back on the same port."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from celery_legion.embedded import EmbeddedValkey
from tests.acceptance.accounts import assert_each_once
from tests.acceptance.conftest import Shop
from tests.acceptance.outage import AWAY, IDLE, cpu_seconds, due_between, missing
from tests.servers.polling import eventually

pytestmark = pytest.mark.e2e


def test_a_store_away_for_twenty_seconds_stops_nobody_and_everything_due_runs_once_afterwards(
    make_shop: Callable[..., Shop], servers: tuple[EmbeddedValkey, EmbeddedValkey]
) -> None:
    broker, store = servers
    shop = make_shop(broker.url(), store.url(), "spread,tick")
    worker = shop.worker()
    beat = shop.beat()
    eventually(lambda: len(shop.ledger.starts("tick")) >= 3, 20, "first runs")
    # Messages of claimed runs lie in the broker when the store goes: they must not be run unguarded.
    worker.stop()
    stopped_at = time.time()
    time.sleep(4)
    store.kill()
    away_from = time.time()
    worker.cont()
    used = cpu_seconds(beat), cpu_seconds(worker)
    time.sleep(AWAY)
    spent = cpu_seconds(beat) - used[0], cpu_seconds(worker) - used[1]
    back_at = time.time()
    # What was begun in the last moment of the store may have been written a moment later.
    during = [line for line in shop.ledger.lines() if line["event"] == "start" and away_from + 1 < line["at"] < back_at]
    store.start()
    due = due_between(stopped_at, back_at)
    eventually(lambda: not missing(shop.ledger, due), 40, f"the runs of {sorted(due)}")
    eventually(lambda: shop.ledger.starts("tick")[-1]["at"] > back_at + 2, 30, "runs of the job of each second")

    assert beat.alive
    assert worker.alive
    assert during == []
    assert max(spent) < IDLE * AWAY, spent
    for job in ("tick", *due):
        assert shop.ledger.doubles(job) == {}
        assert shop.ledger.overlaps(job) == []
    assert beat.terminate() == 0
    records = shop.read("history", "tick", "--limit", "1000")
    assert_each_once(records, 1)
    assert sum(record["count"] for record in records if record["reason"] == "catch_up") >= AWAY - 10
