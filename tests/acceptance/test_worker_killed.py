"""A worker whose main process is killed in the middle of a run, which nobody can report any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.conftest import Shop
from tests.servers.polling import eventually

pytestmark = pytest.mark.e2e

LEASE = 6.0
PASS = 3.5
"""The leader looks for lost runs every two and a half seconds, at the end of a pass of at most one."""


def test_the_run_ends_as_lost_within_its_lease_and_a_pass_and_the_next_fire_runs(
    make_shop: Callable[..., Shop], redis_url: str
) -> None:
    shop = make_shop(redis_url, redis_url, "long", LEGION_TEST_RUN_LEASE=str(int(LEASE)))
    worker = shop.worker()
    shop.beat()
    eventually(lambda: shop.ledger.starts("long"), 20, "the run that is to be lost")
    time.sleep(LEASE / 2)
    worker.kill9()
    killed = time.time()
    shop.worker()
    first = shop.ledger.starts("long")[0]["id"]

    def record() -> dict[str, Any]:
        return next(one for one in shop.read("history", "long", "--limit", "100") if one["id"] == first)

    eventually(lambda: record()["state"] == "lost", 3 * LEASE, "the record of the killed worker's run")
    eventually(lambda: len(shop.ledger.starts("long")) == 2, 10, "the next fire's run")

    found = record()
    assert found["reason"] == "process_lost"
    assert _seconds(found["ended_at"]) - killed < LEASE + PASS
    spans = shop.ledger.spans("long")
    assert spans[0].end is None
    assert spans[1].start > killed


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()
