"""What the command line shows, to programs and to people, and what ``legion run`` does."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable

import jsonschema
import pytest
from rich.cells import cell_len

from celery_legion.embedded import EmbeddedValkey
from tests.acceptance.conftest import Shop
from tests.acceptance.names import LONG_NAME
from tests.acceptance.schemas import JOBS, LOCKS, RECORDS, SHOWN
from tests.servers.polling import eventually
from tests.servers.processes import Process

pytestmark = pytest.mark.e2e

ESCAPE = "\x1b["


@pytest.fixture
def used_shop(make_shop: Callable[..., Shop], redis_url: str) -> Shop:
    """A shop whose jobs have run, and whose schedulers and workers are gone."""
    shop = make_shop(redis_url, redis_url, "kinds,slow")
    worker = shop.worker()
    beat = shop.beat()
    eventually(lambda: shop.ledger.starts("decorated") and shop.ledger.starts("slow"), 20, "first runs")
    eventually(lambda: shop.ledger.spans("wide") and shop.ledger.spans("fluent"), 20, "more runs")
    time.sleep(3)
    beat.terminate()
    worker.terminate()
    return shop


def test_programs_can_read_every_reading_command(used_shop: Shop) -> None:
    jobs = used_shop.read("list")
    jsonschema.validate(jobs, JOBS)
    by_name = {job["name"]: job for job in jobs}
    assert len(by_name) == len(jobs)
    nightly = by_name["nightly"]
    assert (nightly["expression"], nightly["timezone"]) == ("0 2 * * *", "Europe/Berlin")
    assert nightly["schedule"] == "at 02:00, Europe/Berlin"
    assert nightly["last_run"] is None
    assert nightly["next_run"] is not None

    records = used_shop.read("history", "--limit", "100")
    jsonschema.validate(records, RECORDS)
    assert {"decorated", "fluent", "entry", "periodic", "slow", LONG_NAME} <= {record["job"] for record in records}
    assert ("skipped", "overlap") in {(record["state"], record["reason"]) for record in records}
    done = next(record for record in records if record["job"] == "decorated" and record["state"] == "succeeded")
    assert (done["kind"], done["attempt"], done["count"]) == ("scheduled", 1, 1)
    assert done["worker"]
    assert done["pid"]
    assert done["fire_time"] <= done["started_at"] <= done["ended_at"]
    assert {record["job"] for record in used_shop.read("history", LONG_NAME)} == {LONG_NAME}

    shown = used_shop.read("show", "decorated")
    jsonschema.validate(shown, SHOWN)
    assert len(shown["next_fires"]) == 5
    assert {record["job"] for record in shown["records"]} == {"decorated"}
    locks = used_shop.read("locks")
    jsonschema.validate(locks, LOCKS)

    names = {job["name"] for job in jobs}
    for command in (["list"], ["list", "--verbose"], ["history", "--limit", "7"], ["locks"], ["show", "slow"]):
        plain = used_shop.command(*command)
        assert plain.returncode == 0, plain.stderr
        assert ESCAPE not in plain.stdout
        if command[0] == "list":
            # One whole line a job, whatever the width of a terminal may be.
            assert {line.split("  ")[0] for line in plain.stdout.splitlines()[1:]} == names
            assert "no scheduler is running" in plain.stderr
        if command[0] == "history":
            assert len(plain.stdout.splitlines()) == 8


def test_people_can_read_list_and_history_at_every_width(make_shop: Callable[..., Shop], redis_url: str) -> None:
    shop = make_shop(redis_url, redis_url, "kinds,long")
    shop.worker()
    shop.beat()
    eventually(lambda: shop.ledger.starts("long") and shop.ledger.spans("wide"), 20, "a run that holds its lock")
    # For as long as the run takes, which is longer than what follows.
    [lock] = [held["run"] for held in shop.read("locks") if held["lock"] == "long"]
    for columns in (80, 160, 200):
        screen = shop.on_terminal("list", columns=columns, NO_COLOR="1")
        assert "\x1b[3" not in screen
        lines = _plain(screen)
        _check_names(lines, columns)
        [first] = [number for number, line in enumerate(lines) if line.startswith("long ")]
        row = " ".join(lines[first : first + (3 if columns == 80 else 1)])
        assert "running for" in row, row
        assert lock[:8] in row, row
        assert "leader " in lines[-1]
        _check_names(_plain(shop.on_terminal("history", columns=columns, NO_COLOR="1")), columns)
    assert "\x1b[3" in shop.on_terminal("list")


def _check_names(lines: list[str], columns: int) -> None:
    """No line is too long, and a name is whole or goes on below behind a dot, or behind what else divides it."""
    assert max(map(cell_len, lines)) <= columns, lines
    first = next(number for number, line in enumerate(lines) if LONG_NAME[:12] in line)
    column = lines[first].index(LONG_NAME[:12])
    parts = [lines[first][column:].split("  ")[0].strip()]
    while (name := "".join(parts)) != LONG_NAME:
        assert LONG_NAME.startswith(name), name
        assert name[-1] in "._", name
        parts.append(lines[first + len(parts)][column:].split("  ")[0].strip())


def _plain(screen: str) -> list[str]:
    """Return the lines of what a terminal was sent, without its escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen).replace("\r", "").rstrip("\n").split("\n")


def test_one_shots_in_one_minute_send_each_fire_once(make_shop: Callable[..., Shop], redis_url: str) -> None:
    shop = make_shop(redis_url, redis_url, "kinds,minutely")
    shop.worker()
    runs = [_run(shop) for _ in range(4)]
    assert [run.wait(40) for run in runs] == [0] * 4
    # All four see the fires of this minute: one claims them, and whoever is first at what falls due meanwhile.
    for job in ("minutely", "decorated"):
        records = [record for record in shop.read("history", job) if record["id"]]
        fires = Counter(record["fire_time"] for record in records)
        assert max(fires.values()) == 1
        # Two, if the minute has turned meanwhile.
        assert job == "decorated" or len(fires) <= 2
        claimed = {record["id"] for record in records}
        eventually(lambda job=job, ids=claimed: {line["id"] for line in shop.ledger.starts(job)} == ids, 20, job)
        assert shop.ledger.doubles(job) == {}


def test_a_one_shot_beside_a_leading_beat_exits_0_and_doubles_nothing(
    make_shop: Callable[..., Shop], redis_url: str
) -> None:
    shop = make_shop(redis_url, redis_url, "tick,minutely")
    shop.worker()
    beat = shop.beat()
    beat.wait_for("leads with epoch 1")
    for _ in range(5):
        assert [run.wait(40) for run in (_run(shop), _run(shop))] == [0, 0]
    beat.terminate()

    assert "leads no more" not in beat.output
    assert "epoch 2" not in beat.output
    records = shop.read("history", "--limit", "1000")
    fires = Counter((record["job"], record["fire_time"]) for record in records if record["id"])
    assert max(fires.values()) == 1
    assert len([record for record in records if record["job"] == "tick" and record["id"]]) >= 2
    assert shop.ledger.doubles("tick") == shop.ledger.doubles("minutely") == {}


@pytest.mark.parametrize("rescuer", ["run", "beat"])
def test_a_one_shot_without_its_broker_exits_3_and_what_it_claimed_is_sent_later(
    rescuer: str, make_shop: Callable[..., Shop], servers: tuple[EmbeddedValkey, EmbeddedValkey]
) -> None:
    broker, store = servers
    shop = make_shop(broker.url(), store.url(), "minutely")
    broker.kill()
    failed = shop.command("run")
    assert failed.returncode == 3, failed.stdout + failed.stderr
    [line] = failed.stderr.splitlines()
    assert line.startswith("Error: the broker redis://:**@127.0.0.1")
    assert "what was claimed waits" in line
    [claimed] = [record for record in shop.read("history", "minutely") if record["state"] == "claimed"]

    broker.start()
    shop.worker()
    if rescuer == "beat":
        shop.beat()
    else:
        # A claim is left alone while its scheduler may still be sending it.
        eventually(lambda: _run(shop).wait(40) == 0 and shop.ledger.starts("minutely"), 30, "a run", pause=1.0)

    def states() -> list[str]:
        return [record["state"] for record in shop.read("history", "minutely") if record["id"] == claimed["id"]]

    eventually(lambda: states() == ["succeeded"], 20, "the claimed run's success")
    assert claimed["id"] in {line["id"] for line in shop.ledger.starts("minutely")}
    assert shop.ledger.doubles("minutely") == {}


def _run(shop: Shop) -> Process:
    return shop.processes.celery(shop.module, "legion", "run", "--json", name="run", env=shop.env)
