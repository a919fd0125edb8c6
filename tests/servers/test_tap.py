"""The tap: everything a broker was given, told from what consumers put back and from all else."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import redis
from celery import Celery
from kombu import Connection

from celery_legion.embedded import EmbeddedValkey, NoServerError
from tests.conftest import missing
from tests.servers.arrival import PRIORITY_MARK, read_line, unescape
from tests.servers.polling import eventually
from tests.servers.tap import Tap

ODD = "".join(map(chr, range(256))) + '\\" \\\\x41 ["LPUSH" "celery"] é ✓'


@pytest.fixture
def tap(redis_url: str) -> Iterator[Tap]:
    with Tap(redis_url) as tap:
        yield tap


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    with Celery("tapped", broker=redis_url, set_as_current=False) as app:
        app.conf.broker_transport_options = {"priority_steps": [0, 5]}
        yield app


@pytest.fixture
def own() -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey()
    try:
        server.start()
    except NoServerError as exc:
        missing(str(exc))
    yield server
    server.close()


def message(**changes: object) -> str:
    """A message as kombu writes it, with the parts that matter here."""
    headers = {"task": "by.hand", "id": "1", "origin": "gen7@elsewhere", **changes}
    body = "W1sxXSwge30sIHt9XQ=="
    return json.dumps(
        {"body": body, "content-encoding": "utf-8", "headers": headers, "properties": {"body_encoding": "base64"}}
    )


def test_a_sent_task_is_recorded_with_all_that_is_known_of_it(app: Celery, tap: Tap) -> None:
    before = time.monotonic()
    app.send_task("shop.tick", (1, "two"), {"three": [3]}, task_id="x-1", queue="special", headers={"legion": {"v": 1}})
    row = tap.wait_for(lambda row: row.id == "x-1")

    assert (row.task, row.queue, row.args, row.kwargs) == ("shop.tick", "special", [1, "two"], {"three": [3]})
    assert row.pid == os.getpid()
    assert not row.redelivered
    assert row.headers["legion"] == {"v": 1}
    assert before < row.monotonic < time.monotonic()
    assert abs(row.at - datetime.now(UTC)) < timedelta(seconds=10)
    assert tap.gaps == []


def test_a_priority_is_no_part_of_the_queues_name(app: Celery, tap: Tap, redis_url: str) -> None:
    app.send_task("a", task_id="p", priority=5)

    assert tap.wait_for(lambda row: row.id == "p").queue == "celery"
    assert redis.Redis.from_url(redis_url).llen(f"celery{PRIORITY_MARK}5") == 1


def test_messages_of_any_size_and_of_all_characters_are_read(app: Celery, tap: Tap) -> None:
    app.send_task("big", ["x" * 3_000_000, ODD], task_id="b", headers={"odd": ODD})
    row = tap.wait_for(lambda row: row.id == "b")

    assert row.args == ["x" * 3_000_000, ODD]
    assert row.headers["odd"] == ODD


def test_all_messages_of_a_batch_are_recorded_in_order(app: Celery, tap: Tap) -> None:
    with app.producer_or_acquire() as producer:
        if not hasattr(producer, "batch"):
            pytest.skip("this kombu has no batches")
        with producer.batch():
            for number in range(50):
                app.send_task("many", [number], producer=producer)
    tap.wait_for(lambda row: row.args == [49])

    assert [row.args for row in tap.rows] == [[number] for number in range(50)]


def test_messages_of_transactions_scripts_and_of_one_push_of_several_are_recorded(tap: Tap, redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    with client.pipeline(transaction=True) as pipe:
        pipe.lpush("celery", message(id="m1"))
        pipe.set("other", "LPUSH")
        pipe.lpush("celery", message(id="m2"), message(id="m3"))
        pipe.execute()
    with client.pipeline(transaction=True) as pipe:
        pipe.watch("other")
        client.set("other", "changed")
        pipe.multi()
        pipe.lpush("celery", message(id="never"))
        with pytest.raises(redis.WatchError):
            pipe.execute()
    client.eval("redis.call('lpush', KEYS[1], ARGV[1])", 1, "celery", message(id="lua", odd=ODD))
    last = tap.wait_for(lambda row: row.id == "lua")

    assert [row.id for row in tap.rows] == ["m1", "m2", "m3", "lua"]
    assert last.headers["odd"] == ODD
    assert last.args == [1]
    assert last.pid == 7


def test_what_is_no_message_of_this_database_is_left_out(tap: Tap, redis_url: str, valkey: EmbeddedValkey) -> None:
    client = redis.Redis.from_url(redis_url)
    redis.Redis.from_url(valkey.url(5)).lpush("celery", message(id="elsewhere"))
    for value in ("text", "[1]", "{}", b"\x00\xff", '{"headers": {"task": "t"}}', '{"headers": 1, "properties": {}}'):
        client.lpush("celery", value)
    client.set("LPUSH", message(id="set"))
    client.lpush("celery", message(id="last"))
    tap.wait_for(lambda row: row.id == "last")

    assert len(tap.rows) == 1


@pytest.mark.parametrize("requeued", [True, False])
def test_what_a_consumer_puts_back_is_told_from_a_push(requeued: bool, app: Celery, tap: Tap, redis_url: str) -> None:
    app.send_task("again", task_id="r")
    with Connection(redis_url) as connection:
        queue = connection.SimpleQueue("celery")
        taken = queue.get(timeout=5)
        if requeued:
            taken.requeue()
        # One that is still held is put back when its channel closes.
        queue.close()
    tap.wait_for(lambda row: row.redelivered)

    assert [(row.id, row.redelivered, row.pid) for row in tap.rows] == [
        ("r", False, os.getpid()),
        ("r", True, os.getpid()),
    ]


def test_a_body_that_is_not_json_is_recorded_without_its_arguments(tap: Tap, redis_url: str) -> None:
    broken = json.loads(message(id="broken"))
    broken["body"] = "gARdlC4="
    redis.Redis.from_url(redis_url).lpush("celery", json.dumps(broken))
    row = tap.wait_for(lambda row: row.id == "broken")

    assert (row.args, row.kwargs) == (None, None)


def test_a_tap_comes_back_after_a_kill_and_says_when_it_was_deaf(own: EmbeddedValkey) -> None:
    with Tap(own.url(0)) as tap:
        client = redis.Redis.from_url(own.url(0))
        client.lpush("celery", message(id="before"))
        tap.wait_for(lambda row: row.id == "before")
        killed = time.monotonic()
        own.kill()
        eventually(lambda: tap.gaps, what="the gap is seen")
        assert tap.gaps[0][1] == math.inf
        own.start()
        eventually(lambda: tap.gaps[0][1] < math.inf, what="the tap is back")
        redis.Redis.from_url(own.url(0)).lpush("celery", message(id="after"))
        tap.wait_for(lambda row: row.id == "after")

        assert len(tap.gaps) == 1
        start, end = tap.gaps[0]
        assert killed <= start < end <= time.monotonic()
        assert [row.id for row in tap.rows] == ["before", "after"]


def test_a_server_that_stands_still_makes_no_gap(own: EmbeddedValkey) -> None:
    with Tap(own.url(0)) as tap:
        client = redis.Redis.from_url(own.url(0))
        os.kill(own.pid, signal.SIGSTOP)
        time.sleep(0.1)
        os.kill(own.pid, signal.SIGCONT)
        client.lpush("celery", message(id="after"))
        tap.wait_for(lambda row: row.id == "after")

        assert tap.gaps == []


def test_waiting_in_vain_says_what_was_seen(tap: Tap, redis_url: str) -> None:
    redis.Redis.from_url(redis_url).lpush("celery", message(id="another"))
    tap.wait_for(lambda row: row.id == "another")
    with pytest.raises(AssertionError, match=r"1 rows, the last: \[\('by.hand', 'another', \[1\]\)\]"):
        tap.wait_for(lambda row: row.id == "awaited", deadline=0.05)


def test_a_cleared_and_a_closed_tap_hold_what_they_should(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    tap = Tap(redis_url)
    client.lpush("celery", message(id="one"))
    tap.wait_for(lambda row: row.id == "one")
    tap.clear()
    client.lpush("celery", message(id="two"))
    tap.wait_for(lambda row: row.id == "two")
    tap.close()
    client.lpush("celery", message(id="three"))

    assert [row.id for row in tap.rows] == ["two"]
    assert not tap._thread.is_alive()


def test_a_tap_on_nothing_and_one_with_a_wrong_password_fail_at_once(own: EmbeddedValkey) -> None:
    with pytest.raises(ConnectionError, match="WRONGPASS"):
        Tap(f"redis://:wrong@127.0.0.1:{own.port}/0")
    own.kill()
    with pytest.raises(ConnectionRefusedError):
        Tap(own.url(0))


@pytest.mark.parametrize(
    ("quoted", "meant"),
    [
        (rb"plain", b"plain"),
        (rb"\"\\\"", b'"\\"'),
        (rb"\n\r\t\a\b", b"\n\r\t\a\b"),
        (rb"\x00\xff\x7F", b"\x00\xff\x7f"),
        (rb"\\x41\\n", rb"\x41\n"),
    ],
)
def test_each_escape_is_read(quoted: bytes, meant: bytes) -> None:
    assert unescape(quoted) == meant


@pytest.mark.parametrize("client", ["127.0.0.1:1", "[::1]:1", "unix:/tmp/a ] b", "lua"])
def test_a_line_is_read_whoever_the_client_was(client: str) -> None:
    quoted = message().replace("\\", "\\\\").replace('"', '\\"')
    line = f'+1700000000.000001 [0 {client}] "lpush" "q" "{quoted}"'.encode()
    (row,) = read_line(line, 0, 1.5)

    assert row.at == datetime(2023, 11, 14, 22, 13, 20, 1, tzinfo=UTC)
    assert (row.queue, row.id, row.monotonic) == ("q", "1", 1.5)
    assert read_line(line, 1, 1.5) == []
    assert read_line(b"+OK", 0, 1.5) == []
