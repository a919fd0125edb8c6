"""Commands and hooks on a schedule, with real schedulers and workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from celery_legion.embedded import EmbeddedValkey
from tests.acceptance.conftest import Shop
from tests.servers.polling import eventually

pytestmark = pytest.mark.e2e


def test_every_ending_of_a_schedule_calls_its_hooks_once(
    make_shop: Callable[..., Shop], servers: tuple[EmbeddedValkey, EmbeddedValkey]
) -> None:
    broker, store = servers
    shop = make_shop(broker.url(), store.url(), "hooked")
    worker = shop.worker()
    beats = [shop.beat(), shop.beat()]

    def lines(event: str, job: str) -> list[dict[str, Any]]:
        return [line for line in shop.ledger.lines() if (line["event"], line["job"]) == (event, job)]

    eventually(lambda: len(lines("after", "overlapped")) >= 3, 40, "three runs of 3.5 seconds each")
    records = shop.read("history", "overlapped", "--limit", "100")
    skipped = sum(record["count"] for record in records if record["state"] == "skipped")
    failed = [record for record in shop.read("history", "failing", "--limit", "100") if record["state"] == "failed"]
    assert skipped >= 6
    eventually(lambda: sum(line["count"] for line in lines("skipped", "overlapped")) >= skipped, 20, "the skips' hooks")
    eventually(
        lambda: {one["id"] for one in failed} <= {line["id"] for line in lines("failed", "failing")}, 20, "hooks"
    )
    for process in (*beats, worker):
        assert process.terminate() == 0

    assert {line["reason"] for line in lines("skipped", "overlapped")} == {"overlap"}
    assert {(one["exit_code"], one["output"], one["hook_error"]) for one in failed[:3]} == {(4, "to failing\n", None)}
    assert {(line["code"], line["output"]) for line in lines("failed", "failing")} == {(4, "to failing\n")}
    for event in ("after", "failed", "everything"):
        counts = Counter(line["id"] for line in shop.ledger.lines() if line["event"] == event)
        assert set(counts.values()) == {1}, event
    everything = {line["id"] for line in shop.ledger.lines() if line["event"] == "everything"}
    assert {line["id"] for line in [*lines("failed", "failing"), *lines("after", "overlapped")]} <= everything
