"""The main job: no overlap, and every fire accounted for once, for jobs of every kind."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.acceptance.accounts import assert_each_once, timestamp
from tests.acceptance.conftest import Shop
from tests.acceptance.names import LONG_NAME
from tests.servers.polling import eventually

pytestmark = pytest.mark.e2e


def test_a_job_of_five_seconds_every_two_never_overlaps_and_every_fire_is_accounted_for_once(
    make_shop: Callable[..., Shop], redis_url: str
) -> None:
    shop = make_shop(redis_url, redis_url, "slow")
    shop.worker()
    beats = [shop.beat(), shop.beat()]
    eventually(lambda: shop.ledger.starts("slow"), 20, "the first run")
    time.sleep(30)
    for beat in beats:
        assert beat.terminate() == 0
    records = shop.read("history", "slow", "--limit", "1000")
    runs = [record for record in records if record["id"]]
    skips = [record for record in records if not record["id"]]
    fires = assert_each_once(records, 2)

    assert shop.ledger.overlaps("slow") == []
    assert shop.ledger.doubles("slow") == {}
    assert len(fires) >= 15
    assert {(record["state"], record["reason"]) for record in skips} == {("skipped", "overlap")}
    assert len(runs) >= 4
    # The tasks' own ledger and the history speak of the same runs.
    ran = {(line["id"], line["fire"]) for line in shop.ledger.starts("slow")}
    assert ran == {(record["id"], timestamp(record["fire_time"])) for record in runs}


def test_jobs_of_every_kind_run(make_shop: Callable[..., Shop], redis_url: str) -> None:
    shop = make_shop(redis_url, redis_url, "kinds")
    shop.worker()
    beat = shop.beat()
    for job in ("decorated", "fluent", "entry", "periodic", "wide"):
        eventually(lambda job=job: len(shop.ledger.starts(job)) >= 2, 20, f"two runs of {job}")  # type: ignore[misc]
    assert beat.terminate() == 0
    by_name = {row["name"]: row for row in shop.read("list")}

    assert set(by_name) == {"decorated", "fluent", "entry", "periodic", "nightly", LONG_NAME}
    assert by_name["decorated"]["tags"] == ["a", "b"]
    assert by_name["decorated"]["last_state"] == "succeeded"
    assert by_name["fluent"]["queue"] == "celery"
    assert by_name["decorated"]["source"] == by_name["fluent"]["source"] == "code"
    assert by_name["entry"]["source"] == by_name["periodic"]["source"] == "beat"
    for job in ("decorated", "fluent", "entry", "periodic"):
        assert shop.ledger.doubles(job) == {}
        assert shop.ledger.overlaps(job) == []
