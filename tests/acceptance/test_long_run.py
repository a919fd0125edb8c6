"""A run that is longer than an outage, which is longer than its lease."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from celery_legion.embedded import EmbeddedValkey
from tests.acceptance.conftest import Shop
from tests.servers.polling import eventually

pytestmark = pytest.mark.e2e

LEASE = 6
AWAY = 9


def test_a_run_goes_on_alone_through_an_outage_that_is_longer_than_its_lease(
    make_shop: Callable[..., Shop], servers: tuple[EmbeddedValkey, EmbeddedValkey]
) -> None:
    broker, store = servers
    shop = make_shop(broker.url(), store.url(), "long", LEGION_TEST_RUN_LEASE=str(LEASE))
    shop.worker()
    shop.beat()
    eventually(lambda: shop.ledger.starts("long"), 20, "the long run")
    time.sleep(1)
    store.kill()
    time.sleep(AWAY)
    store.start()
    eventually(lambda: len(shop.ledger.starts("long")) >= 2, 40, "the run after the long one")

    assert shop.ledger.overlaps("long") == []
    first = shop.ledger.starts("long")[0]["id"]
    records = {record["id"]: record for record in shop.read("history", "long", "--limit", "100")}
    assert records[first]["state"] == "succeeded"
