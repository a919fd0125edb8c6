"""The broker dies for good, and another one takes over: the next message goes there, and no run is lost or doubled."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from celery_legion.embedded import EmbeddedValkey
from tests.acceptance.conftest import Shop
from tests.acceptance.outage import due_between, missing
from tests.conftest import missing as not_here
from tests.servers.patience import patient
from tests.servers.polling import eventually
from tests.servers.processes import Process
from tests.servers.rabbitmq import SERVER, RabbitMQ
from tests.servers.sentinel import NAME, Watched

pytestmark = pytest.mark.e2e

IN_TIME = patient(2.0 + 2.0)
"""The broker's timeout of the app under test, and two seconds."""


def first_after(shop: Shop, moment: float) -> float | None:
    """Return when the first run began whose fire is later than *moment*."""
    starts = [line["at"] for line in shop.ledger.lines() if line["event"] == "start" and line["fire"] > moment]
    return min(starts, default=None)


def check(shop: Shop, since: float, killed: float, beat: Process) -> None:
    """See the next message in time, and everything run once that fell due from before the kill until well after."""
    eventually(lambda: first_after(shop, killed), 20, "a run after the kill")
    time.sleep(3)
    due = due_between(since, time.time())
    eventually(lambda: not missing(shop.ledger, due), 40, f"the runs of {sorted(due)}")
    first = first_after(shop, killed)
    assert first is not None
    print(f"first message {first - killed:.2f} s after the kill, {len(due)} fires")
    assert first - killed < IN_TIME
    assert {job: shop.ledger.doubles(job) for job in due if shop.ledger.doubles(job)} == {}
    assert beat.alive


def test_messages_go_to_the_second_rabbitmq_when_the_first_is_killed(
    make_shop: Callable[..., Shop], valkey: EmbeddedValkey
) -> None:
    if not SERVER.exists():
        not_here("RabbitMQ")
    with RabbitMQ() as first, RabbitMQ() as second:
        both = f"{first.url()};{second.url()}"
        shop = make_shop(both, valkey.url(7), "spread")
        # One worker begins at each: where a worker goes when its broker dies is Celery's affair.
        shop.worker("-n", "one@%h").wait_for(" ready")
        shop.env["LEGION_TEST_BROKER"] = second.url()
        shop.worker("-n", "two@%h").wait_for(" ready")
        shop.env["LEGION_TEST_BROKER"] = both
        beat = shop.beat()
        eventually(shop.ledger.lines, 20, "a first run")
        since = time.time()
        time.sleep(4)
        killed = time.time()
        first.kill9()
        check(shop, since, killed, beat)


def test_messages_go_to_the_new_master_when_the_old_one_is_killed(
    make_shop: Callable[..., Shop], valkey: EmbeddedValkey
) -> None:
    with Watched() as watched:
        shop = make_shop(watched.url, valkey.url(8), "spread", LEGION_TEST_MASTER=NAME)
        shop.worker()
        # Celery's own worker takes seconds for each time that it asks a dead sentinel.
        shop.env["LEGION_TEST_BROKER"] = watched.url_with_dead
        beat = shop.beat()
        eventually(shop.ledger.lines, 20, "a first run")
        since = time.time()
        time.sleep(4)
        killed = time.time()
        watched.kill_master()
        check(shop, since, killed, beat)
