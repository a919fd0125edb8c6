"""Jobs of every kind through schedulers, workers and the command line."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import jsonschema
import pytest

from celery_legion.embedded import EmbeddedValkey
from tests.acceptance.conftest import Shop
from tests.servers.polling import eventually

pytestmark = pytest.mark.e2e

INSTANT = {"type": ["string", "null"], "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}
TEXT, MAYBE = {"type": "string"}, {"type": ["string", "null"]}
LIST_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name": TEXT,
        "action": TEXT,
        "schedule": TEXT,
        "expression": MAYBE,
        "timezone": TEXT,
        "next_run": INSTANT,
        "last_run": INSTANT,
        "last_state": MAYBE,
        "last_duration": {"type": ["number", "null"]},
        "lock": {"type": ["object", "null"]},
        "paused": {"type": "boolean"},
        "tags": {"type": "array", "items": TEXT},
        "queue": MAYBE,
        "source": {"enum": ["code", "dynamic", "beat"]},
    },
}
LIST_SCHEMA["required"] = sorted(LIST_SCHEMA["properties"])  # type: ignore[arg-type]
HISTORY_KEYS = ["id", "job", "kind", "fire_time", "state", "reason", "count", "started_at", "ended_at", "exit_code"]
HISTORY_KEYS += ["worker", "pid", "attempt", "output"]
HISTORY_SCHEMA = {
    "type": "object",
    "required": HISTORY_KEYS,
    "properties": {
        "id": MAYBE,
        "job": TEXT,
        "kind": {"enum": ["scheduled", "pushed", "manual", "backfill"]},
        "fire_time": INSTANT,
        "state": TEXT,
        "reason": MAYBE,
        "count": {"type": "integer", "minimum": 1},
        "started_at": INSTANT,
        "ended_at": INSTANT,
        "worker": MAYBE,
        "pid": {"type": ["integer", "null"]},
        "attempt": {"type": "integer"},
    },
}


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
    fires = sorted(record["fire_time"] for record in runs)
    accounted = sum(record["count"] for record in records)
    first = min(record["fire_time"] for record in records)
    last = max(record["last_fire_time"] for record in records)
    seconds = _seconds(last) - _seconds(first)

    assert shop.ledger.overlaps("slow") == []
    assert shop.ledger.doubles("slow") == {}
    assert accounted == seconds / 2 + 1, (accounted, first, last)
    assert accounted >= 15
    assert {record["reason"] for record in skips} == {"overlap"}
    assert len(fires) == len(set(fires)) == len(runs) >= 4


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def test_an_existing_app_with_only_beat_schedule_runs_unchanged(make_shop: Callable[..., Shop], redis_url: str) -> None:
    shop = make_shop(redis_url, redis_url, "")
    shop.module = "tests.acceptance.plain"
    shop.worker("-Q", "celery,other")
    beats = [shop.beat(), shop.beat()]
    eventually(lambda: len(shop.ledger.starts("number")) >= 6, 30, "six runs of the number entry")
    eventually(lambda: shop.ledger.starts("cron"), 70, "the crontab's run, in its own queue")
    for beat in beats:
        beat.terminate()
    # Overlap is what it was: allowed.
    assert shop.ledger.overlaps("slow")
    assert shop.ledger.doubles("number") == {}
    starts = shop.ledger.starts("number")
    assert len(starts) == len({round(line["at"]) for line in starts})
    records = shop.read("history", "number")
    assert {(record["state"], record["reason"]) for record in records} == {("sent", "unwatched")}


def test_jobs_of_every_kind_run_and_are_listed(make_shop: Callable[..., Shop], redis_url: str) -> None:
    shop = make_shop(redis_url, redis_url, "kinds")
    shop.worker()
    beat = shop.beat()
    for job in ("decorated", "fluent", "entry", "periodic"):
        eventually(lambda job=job: len(shop.ledger.starts(job)) >= 2, 20, f"two runs of {job}")  # type: ignore[misc]
    beat.terminate()
    rows = shop.read("list")
    for row in rows:
        jsonschema.validate(row, LIST_SCHEMA)
    by_name = {row["name"]: row for row in rows}

    assert set(by_name) == {"decorated", "fluent", "entry", "periodic", "nightly"}
    assert by_name["decorated"]["tags"] == ["a", "b"]
    assert by_name["decorated"]["last_state"] == "succeeded"
    assert by_name["entry"]["source"] == by_name["periodic"]["source"] == "beat"
    assert (by_name["nightly"]["expression"], by_name["nightly"]["timezone"]) == ("0 2 * * *", "Europe/Berlin")
    assert by_name["nightly"]["schedule"] == "at 02:00, Europe/Berlin"
    assert by_name["nightly"]["last_run"] is None
    assert by_name["nightly"]["next_run"] is not None

    records = shop.read("history", "--limit", "50")
    for record in records:
        jsonschema.validate(record, HISTORY_SCHEMA)
    done = next(record for record in records if record["job"] == "decorated")
    assert (done["kind"], done["state"], done["attempt"]) == ("scheduled", "succeeded", 1)
    assert done["worker"]
    assert done["pid"]
    # As one line of crontab would see it: nothing is due any more, or little.
    assert shop.command("run").returncode == 0

    for columns in (80, 160):
        for command in ("list", "history"):
            shown = shop.command(command, COLUMNS=str(columns))
            assert shown.returncode == 0, shown.stderr
            assert max(map(len, shown.stdout.splitlines())) <= columns
            assert "\x1b" not in shown.stdout
            assert re.search(r"decorated|nightly", shown.stdout)


def test_two_one_shots_in_one_minute_run_each_fire_once(make_shop: Callable[..., Shop], redis_url: str) -> None:
    shop = make_shop(redis_url, redis_url, "kinds")
    shop.worker()
    runs = [shop.processes.celery(shop.module, "legion", "run", "--json", name="run", env=shop.env) for _ in range(4)]
    assert [run.wait(40) for run in runs] == [0] * 4
    # All four see the decorated job's fires of this minute; together they claim the newest of them once, and
    # any that falls due between the four.
    eventually(lambda: shop.ledger.starts("decorated"), 20, "the run that was claimed")
    records = [record for record in shop.read("history", "decorated") if record["id"]]
    fires = [record["fire_time"] for record in records]
    assert len(fires) == len(set(fires))
    assert shop.ledger.doubles("decorated") == {}


def test_a_one_shot_without_its_broker_exits_3_and_the_next_one_sends_what_it_claimed(
    make_shop: Callable[..., Shop], servers: tuple[EmbeddedValkey, EmbeddedValkey]
) -> None:
    broker, store = servers
    shop = make_shop(broker.url(), store.url(), "kinds")
    broker.kill()
    failed = shop.command("run")
    assert failed.returncode == 3, failed.stdout + failed.stderr
    assert len(failed.stderr.strip().splitlines()[-1]) > 20
    assert "Traceback" not in failed.stderr.splitlines()[-1]
    claimed = [record for record in shop.read("history", "decorated") if record["state"] == "claimed"]
    assert len(claimed) == 1

    broker.start()
    shop.worker()
    time.sleep(6)
    eventually(lambda: shop.command("run").returncode == 0, 10, "a run that reaches the broker")
    eventually(
        lambda: claimed[0]["id"] in {line["id"] for line in shop.ledger.starts("decorated")}, 15, "the claimed run"
    )
    assert shop.ledger.doubles("decorated") == {}


def test_the_leader_hands_over_when_it_is_told_to_end(make_shop: Callable[..., Shop], redis_url: str) -> None:
    shop = make_shop(redis_url, redis_url, "tick")
    shop.worker()
    first = shop.beat()
    first.wait_for("leads with epoch 1")
    second = shop.beat()
    second.wait_for("beat: Starting")
    time.sleep(1.5)
    started = time.monotonic()
    assert first.terminate() == 0
    second.wait_for("leads with epoch 2", 5)
    # Generous against a busy machine; the nemesis measures it.
    assert time.monotonic() - started < 3
    second.terminate()
    starts = shop.ledger.starts("tick")
    fires = [line["fire"] for line in starts]
    assert len(fires) == len(set(fires))
