"""Countdowns that RabbitMQ itself waits for: sent before any worker has run, and longer than the run lease."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.conftest import Shop
from tests.conftest import missing
from tests.servers.polling import eventually
from tests.servers.rabbitmq import NoRabbitError, RabbitMQ

pytestmark = pytest.mark.e2e

LEASE = 2.5


@pytest.fixture
def rabbit() -> Iterator[RabbitMQ]:
    server = RabbitMQ()
    try:
        server.start()
    except NoRabbitError as exc:
        missing(str(exc))
    yield server
    server.close()


def test_they_arrive_once_at_their_end_and_are_not_taken_for_lost(
    make_shop: Callable[..., Shop], redis_url: str, rabbit: RabbitMQ
) -> None:
    shop = make_shop(rabbit.url(), redis_url, "delayed", LEGION_TEST_RUN_LEASE=str(LEASE))
    beat = shop.beat()
    beat.wait_for("delayed", 30)
    shop.worker("-c", "2")
    [hardly, *_] = eventually(lambda: shop.ledger.starts("hardly"), 20, "the short countdown's run")
    [delayed, *_] = eventually(lambda: shop.ledger.starts("delayed"), 40, "the long countdown's run")

    assert delayed["at"] - delayed["fire"] >= 15
    assert hardly["at"] - hardly["fire"] >= 0.5
    assert shop.ledger.doubles("delayed") == shop.ledger.doubles("hardly") == {}
    assert "lost" not in beat.output
    assert "ERROR" not in beat.output
