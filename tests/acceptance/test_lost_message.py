"""A message that the broker had and has lost: its run happens once all the same, and its job goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from tests.acceptance.conftest import Shop
from tests.servers.polling import eventually

pytestmark = pytest.mark.e2e

LEASE = 2.5
UNSENT_EVERY = 5.0


def test_its_run_happens_once_within_a_few_leases_and_the_next_fires_follow(
    make_shop: Callable[..., Shop], redis_url: str
) -> None:
    shop = make_shop(redis_url, redis_url, "tick", LEGION_TEST_RUN_LEASE=str(LEASE))
    beat = shop.beat()
    with Redis.from_url(redis_url) as broker:
        message: Any = eventually(lambda: broker.rpop("celery"), 20, "the first message")
    run = json.loads(message)["headers"]["id"]

    shop.worker()

    def executed() -> list[dict[str, Any]]:
        return [line for line in shop.ledger.starts("tick") if line["id"] == run]

    eventually(executed, 4 * LEASE + UNSENT_EVERY, f"run {run}")
    eventually(lambda: len(shop.ledger.starts("tick")) >= 4, 6, "the next fires' runs")
    assert len(executed()) == 1
    assert beat.output.count("seems to be lost; it is sent again") == 1
    assert f"the message of run {run} of job tick seems to be lost; it is sent again" in beat.output


def test_one_that_a_worker_without_legion_may_have_is_not_sent_again(
    make_shop: Callable[..., Shop], redis_url: str
) -> None:
    shop = make_shop(redis_url, redis_url, "tick", LEGION_TEST_RUN_LEASE=str(LEASE))
    base = ("worker", "--loglevel", "INFO", "--without-gossip", "--without-mingle", "-c", "1", "-n", "old@shop")
    stranger = shop.processes.celery("tests.acceptance.stranger", *base, env=shop.env)
    stranger.wait_for(r"ready\.", 40)
    beat = shop.beat()
    [first, *_] = eventually(lambda: shop.ledger.starts("tick"), 20, "the stranger's run")
    shop.worker("-n", "new@shop")

    beat.wait_for("seems to be lost, but worker old@shop of queue celery has no Legion", 8 * LEASE + UNSENT_EVERY)
    assert "sent again\n" not in beat.output.replace("not sent again\n", "")
    assert sum(line["id"] == first["id"] for line in shop.ledger.starts("tick")) == 1
