"""The broker goes away for a while, and comes back on the same port."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from celery_legion.embedded import EmbeddedValkey
from tests.acceptance.conftest import Shop
from tests.acceptance.outage import AWAY, IDLE, cpu_seconds, due_between, missing
from tests.servers.polling import eventually

pytestmark = pytest.mark.e2e


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
    spent = cpu_seconds(beat) - used
    back_at = time.time()
    broker.start()
    shop.worker()
    due = due_between(away_from, back_at)
    eventually(lambda: not missing(shop.ledger, due), 40, f"the runs of {sorted(due)}")

    assert len(due) >= AWAY - 3
    assert spent < IDLE * AWAY
    assert {job: shop.ledger.doubles(job) for job in due if shop.ledger.doubles(job)} == {}
    assert beat.alive
    assert beat.terminate() == 0
