"""An app of Celery's own beat, with nothing of ours but the scheduler's name on the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.acceptance.conftest import Shop
from tests.servers.polling import eventually

pytestmark = pytest.mark.e2e


def test_an_existing_app_with_only_beat_schedule_runs_unchanged(make_shop: Callable[..., Shop], redis_url: str) -> None:
    shop = make_shop(redis_url, redis_url, "")
    shop.module = "tests.acceptance.plain"
    shop.worker("-Q", "celery,other")
    beats = [shop.beat(), shop.beat()]
    eventually(lambda: len(shop.ledger.starts("number")) >= 6, 30, "six runs of the number entry")
    eventually(lambda: len(shop.ledger.starts("delta")) >= 3, 10, "three runs of the timedelta entry")
    eventually(lambda: shop.ledger.starts("cron"), 70, "the crontab's run, in its own queue")
    for beat in beats:
        assert beat.terminate() == 0
    records = shop.read("history", "--limit", "1000")
    sent = Counter(record["id"] for record in records)
    fires = Counter((record["job"], record["fire_time"]) for record in records)

    def ran() -> Counter[str]:
        return Counter(line["id"] for line in shop.ledger.lines() if line["event"] == "start")

    # Two schedulers, and nothing that would drop a copy: each message was sent once.
    eventually(lambda: ran() == sent, 20, "the runs of all that was sent")
    assert max(fires.values()) == 1
    # No worker reports, so that it was sent is all that is said of a run.
    assert {(record["state"], record["reason"]) for record in records} == {("sent", "unwatched")}
    # Overlap is what it was: allowed. Options arrive as they were given.
    assert shop.ledger.overlaps("slow")
    first = {job: shop.ledger.starts(job)[0] for job in ("number", "delta", "slow", "cron")}
    assert {job: line["queue"] for job, line in first.items()} == {
        "number": "celery",
        "delta": "celery",
        "slow": "celery",
        "cron": "other",
    }
    assert first["delta"]["priority"] == 3
    assert first["number"]["expires"] is not None
    assert first["slow"]["expires"] is None
