"""A schedule that decides when it is asked, beside an entry that is written wrongly, through a take-over."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.acceptance.conftest import Shop
from tests.servers.polling import eventually

pytestmark = pytest.mark.e2e


def test_what_is_due_once_runs_once_though_its_leader_dies(make_shop: Callable[..., Shop], redis_url: str) -> None:
    at = time.time() + 5
    shop = make_shop(redis_url, redis_url, "", LEGION_TEST_AT=str(at))
    shop.module = "tests.acceptance.asked"
    shop.worker()
    leader = shop.beat()
    eventually(lambda: len(shop.ledger.starts("clocked")) == 1, 30, "the run of what is due once")
    standby = shop.beat()
    jobs = {job["name"]: job for job in shop.read("list")}
    assert (jobs["slip"]["state"], jobs["clocked"]["next_run"]) == ("broken", None)
    assert "write (16,)" in jobs["slip"]["problem"]
    leader.kill9()
    died = time.time()
    eventually(lambda: sum(one["at"] > died + 7 for one in shop.ledger.starts("good")) >= 3, 40, "runs of a new leader")
    assert standby.terminate() == 0

    assert len(shop.ledger.starts("clocked")) == 1
    assert shop.ledger.starts("clocked")[0]["at"] >= at
    assert not shop.ledger.starts("slip")
