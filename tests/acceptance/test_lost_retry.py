"""A worker that holds a retry is killed: its job is free a run lease after the retry was due, on every transport."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Shop
from tests.servers.patience import patient
from tests.servers.polling import eventually

pytestmark = pytest.mark.e2e

LEASE, COUNTDOWN = 4.0, 3.0
NEXT_FIRE = 1.0
SLACK = 1.5
"""The way of a message to its worker; the filesystem's is asked once a second."""


@pytest.mark.parametrize("transport", ["redis", "filesystem"])
def test_the_job_runs_again_within_the_retrys_countdown_and_a_run_lease(
    make_shop: Callable[..., Shop], redis_url: str, tmp_path: Path, transport: str
) -> None:
    folders = {"data_folder_in": str(tmp_path), "data_folder_out": str(tmp_path), "control_folder": str(tmp_path)}
    shop = make_shop(
        redis_url if transport == "redis" else "filesystem://",
        redis_url,
        "",
        LEGION_TEST_RUN_LEASE=str(LEASE),
        LEGION_TEST_COUNTDOWN=str(COUNTDOWN),
        LEGION_TEST_TRANSPORT=json.dumps({} if transport == "redis" else folders),
    )
    shop.module = "tests.acceptance.retrying"
    worker = shop.worker()
    shop.beat()
    eventually(lambda: worker.output.count("Task flaky[") > 2, 20, "the retry, received")
    first = shop.ledger.starts("flaky")[0]
    worker.kill9()
    shop.worker()
    following = eventually(lambda: shop.ledger.starts("flaky")[1:], COUNTDOWN + LEASE + 10, "the next run")[0]

    took = following["at"] - first["at"]
    print(json.dumps({"transport": transport, "seconds until the job ran again": round(took, 2)}))
    assert following["id"] != first["id"]
    assert COUNTDOWN + LEASE <= took < COUNTDOWN + LEASE + patient(NEXT_FIRE + SLACK)
    lost = eventually(lambda: _lost(shop, first["id"]), 10, "the record of the retry")
    assert lost["reason"] == "retry_lost"
    due = datetime.fromisoformat(lost["retry_at"]).timestamp()
    assert COUNTDOWN <= due - first["at"] < COUNTDOWN + patient(0.5)


def _lost(shop: Shop, run: str) -> dict[str, Any] | None:
    found = [one for one in shop.read("history", "flaky", "--limit", "100") if one["id"] == run]
    return found[0] if found and found[0]["state"] == "lost" else None
