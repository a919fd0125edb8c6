"""On a broker that cannot carry Celery's remote control: interruptions are prompt, and lost messages are sent again."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Shop
from tests.servers.patience import patient
from tests.servers.polling import eventually

pytestmark = pytest.mark.e2e

LEASE = 2.5
UNSENT_EVERY = 5.0


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "broker.sqlite"


def take(database: Path) -> list[str]:
    """Lose the messages that wait in the broker's database; returns the ids of their runs."""
    try:
        with sqlite3.connect(database, timeout=10) as connection:
            rows = connection.execute("SELECT payload FROM kombu_message WHERE visible").fetchall()
            connection.execute("DELETE FROM kombu_message WHERE visible")
    except sqlite3.OperationalError:
        # Its tables are yet to be made.
        return []
    return [json.loads(payload)["headers"]["id"] for (payload,) in rows]


def test_a_lost_message_is_sent_again(make_shop: Callable[..., Shop], redis_url: str, database: Path) -> None:
    broker = f"sqla+sqlite:///{database}"
    shop = make_shop(broker, redis_url, "tick", LEGION_TEST_RUN_LEASE=str(LEASE))
    beat = shop.beat()
    [run, *_] = eventually(lambda: take(database), 20, "the first message")
    shop.worker("-c", "1")

    def executed() -> list[dict[str, Any]]:
        return [line for line in shop.ledger.starts("tick") if line["id"] == run]

    eventually(executed, 4 * LEASE + UNSENT_EVERY, f"run {run}")
    assert len(executed()) == 1
    assert f"the message of run {run} of job tick seems to be lost; it is sent again" in beat.output
    assert "could not be asked" not in beat.output


def test_an_interruption_does_not_wait_for_the_next_renewal(
    make_shop: Callable[..., Shop], redis_url: str, database: Path
) -> None:
    shop = make_shop(f"sqla+sqlite:///{database}", redis_url, "long", LEGION_TEST_RUN_LEASE="60")
    shop.beat()
    # One process more than the job has runs: where one is waited for, the loop of such a transport waits as well.
    shop.worker("-c", "2")
    [first, *_] = eventually(lambda: shop.ledger.starts("long"), 20, "the first run")
    began = time.monotonic()
    done = shop.command("interrupt", first["id"], "--grace", "2s")
    assert done.returncode == 0, done.stderr
    assert "interrupted (terminated)" in done.stdout + done.stderr
    # Renewals are 20 s apart; most of this is the command's own start.
    assert time.monotonic() - began < patient(8)
