"""The scheduler's app and the workers' app are named differently: runs happen, and are recorded, as with beat."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest

from celery_legion.run import State
from celery_legion.stores import open_store
from celery_legion.stores.base import StoreOptions
from tests.acceptance.conftest import Shop
from tests.servers.polling import eventually

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_runs_are_served_under_the_scheduler_s_prefix(
    make_shop: Callable[..., Shop], redis_url: str, pool: str
) -> None:
    shop = make_shop(redis_url, redis_url, "tick", LEGION_TEST_NAME="tasks")
    worker = shop.worker("-P", pool)
    shop.env["LEGION_TEST_NAME"] = "clock"
    beat = shop.beat()
    eventually(lambda: len(shop.ledger.starts("tick")) >= 5, 25, "five runs")

    with closing(open_store(StoreOptions(url=redis_url, prefix="legion:clock"))) as store:
        ended = eventually(lambda: [run for run in store.runs("tick", 20) if run.state is State.SUCCEEDED][4:], 10)
        assert ended
        assert not [run for run in store.runs("tick", 20) if run.state in (State.LOST, State.SKIPPED)]
        assert [info.name for info in store.workers()]
    assert worker.output.count("Runs are served under the key prefix legion:clock from now on") == 1
    assert "is not executed" not in worker.output
    assert beat.alive
