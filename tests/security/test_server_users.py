"""The server users of the documents: each suffices for what it is for, and can do nothing else."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import redis

from celery_legion.embedded import EmbeddedValkey
from celery_legion.errors import StoreError
from celery_legion.run import State
from celery_legion.stores import open_store
from celery_legion.stores.base import Retention, Store, StoreOptions
from celery_legion.testing.conformance import Keeping, StoreConformance
from tests.acceptance.conftest import Shop
from tests.servers.polling import eventually
from tests.servers.processes import ROOT
from tests.stores.test_redis import ServerClock

GUIDE = ROOT / "docs" / "security.md"
SCRIPTS = ROOT / "celery_legion" / "stores" / "redis" / "lua"
DOCUMENTED = "legion:shop"
PASSWORD = "PASSWORD"
OUTSIDE_SCRIPTS = {"ping", "time", "eval", "evalsha", "publish", "subscribe", "unsubscribe"}


def documented(user: str) -> list[str]:
    """Return the words after ``redis-cli`` of the guide's line for *user*."""
    text = GUIDE.read_text().replace("\\\n", " ")
    [line] = re.findall(rf"^\$ redis-cli (ACL SETUSER {user} .*)$", text, re.MULTILINE)
    return shlex.split(line)


def make_user(server: redis.Redis, url: str, user: str, prefix: str) -> str:
    """Make a user of its own of the guide's *user*, for *prefix*; returns the URL for it."""
    name, password = f"{user}-{uuid4().hex}", uuid4().hex
    words = [word.replace(DOCUMENTED, prefix).replace(PASSWORD, password) for word in documented(user)]
    words[2] = name
    assert server.execute_command(*words) in (True, "OK", b"OK")
    parts = urlsplit(url)
    return parts._replace(netloc=f"{name}:{password}@{parts.hostname}:{parts.port}").geturl()


@pytest.fixture
def server(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client
        for name in client.acl_users():
            if name != "default":
                client.acl_deluser(name)


class TestStore(StoreConformance):
    """Every verb, by the user of the guide."""

    tick = timedelta(milliseconds=60)

    @pytest.fixture
    def clock(self) -> ServerClock:
        return ServerClock()

    @pytest.fixture
    def keeping(self, redis_url: str, server: redis.Redis) -> Iterator[Keeping]:
        opened = []

        def keep(retention: Retention) -> Store:
            prefix = f"test:{uuid4().hex}"
            url = make_user(server, redis_url, "legion", prefix)
            opened.append(open_store(StoreOptions(url=url, prefix=prefix, retention=retention)))
            return opened[-1]

        yield keep
        for store in opened:
            store.close()

    @pytest.fixture
    def store(self, keeping: Keeping) -> Store:
        return keeping(Retention())


def test_the_store_s_user_has_the_commands_of_the_scripts_and_no_others() -> None:
    used = {
        command.lower()
        for script in SCRIPTS.glob("*.lua")
        for command in re.findall(r"redis\.p?call\('(\w+)'", script.read_text())
    }
    granted = {word[1:] for word in documented("legion") if word.startswith("+")}

    assert granted == used | OUTSIDE_SCRIPTS


def refused(client: redis.Redis, *command: str) -> bool:
    try:
        client.execute_command(*command)
    except redis.exceptions.NoPermissionError:
        return True
    except redis.exceptions.ResponseError as exc:
        return "ACL" in str(exc) or "permission" in str(exc).lower()
    return False


BEYOND = """
FLUSHALL | FLUSHDB | KEYS * | SCAN 0 | CONFIG GET requirepass | CONFIG SET dir / | ACL LIST | ACL SETUSER x | INFO
CLIENT LIST | MONITOR | SHUTDOWN | SAVE | REPLICAOF NO ONE | MODULE LIST | SCRIPT FLUSH | FUNCTION LIST
DUMP {legion:a}:inbox | RENAME {legion:a}:x y | GET {legion:b}:version | LPUSH {legion:b}:inbox x | LPUSH celery x
PUBLISH {legion:b}:wake x | SUBSCRIBE {legion:b}:wake | PSUBSCRIBE * | GET {legion:a} | GET {legion:aa}:version
GET legion:a:version | EVAL "return redis.call('GET', '{legion:b}:version')" 0
EVAL "return redis.call('GET', '{legion:b}:version')" 1 {legion:a}:
EVAL "return redis.call('FLUSHALL')" 1 {legion:a}:
"""

NO_PUSHES = """
LRANGE {legion:a}:inbox 0 -1 | LINDEX {legion:a}:inbox 0 | RPOP {legion:a}:inbox | DEL {legion:a}:inbox
LREM {legion:a}:inbox 0 x | RPUSH {legion:a}:inbox x | LPUSH {legion:a}:ledger:x x | LPUSH {legion:a}:aside x
HSET {legion:a}:jobs x {} | HSET {legion:a}:pauses * {} | HGETALL {legion:a}:marks | SUBSCRIBE {legion:a}:wake
EVALSHA 0000000000000000000000000000000000000000 1 {legion:a}:inbox | EVAL "return 1" 0 | TIME
PUBLISH {legion:a}:other x
"""


def commands(text: str) -> list[list[str]]:
    return [shlex.split(part) for line in text.strip().splitlines() for part in line.split("|")]


@pytest.mark.parametrize("user", ["legion", "pusher"])
def test_neither_user_reaches_beyond_its_prefix_or_administers(server: redis.Redis, redis_url: str, user: str) -> None:
    url = make_user(server, redis_url, user, "legion:a")
    server.set("{legion:b}:version", "1")
    with redis.Redis.from_url(url, decode_responses=True) as client:
        assert client.ping()
        assert [command for command in commands(BEYOND) if not refused(client, *command)] == []
    assert server.get("{legion:b}:version") == "1"


def test_the_pusher_puts_into_the_inbox_and_does_nothing_else(server: redis.Redis, redis_url: str) -> None:
    server.lpush("{legion:a}:inbox", "waiting")
    with redis.Redis.from_url(make_user(server, redis_url, "pusher", "legion:a"), decode_responses=True) as client:
        assert client.lpush("{legion:a}:inbox", json.dumps({"job": "x"})) == 2
        assert client.publish("{legion:a}:wake", "push") == 0
        assert [command for command in commands(NO_PUSHES) if not refused(client, *command)] == []


HELD = "on >{password} ~shop:* &shop:* +@all -@dangerous"
"""A user who is held to a key prefix, as a host gives it to each of its customers."""


def test_a_user_held_to_a_key_prefix_is_served_under_a_prefix_with_a_tag(server: redis.Redis, redis_url: str) -> None:
    name, password = f"held-{uuid4().hex}", uuid4().hex
    server.execute_command("ACL", "SETUSER", name, *HELD.format(password=password).split())
    place = urlsplit(redis_url)
    url = place._replace(netloc=f"{name}:{password}@{place.hostname}:{place.port}").geturl()
    with closing(open_store(StoreOptions(url=url, prefix="shop:{legion}"))) as store:
        store.put("job", "{}")
        store.wake()
        assert store.definitions() == {"job": "{}"}
        assert server.keys()
        assert server.keys() == server.keys("shop:{legion}:*")
    with closing(open_store(StoreOptions(url=url, prefix="legion:shop"))) as store:
        for act in (store.wake, lambda: store.put("job", "{}")):
            with pytest.raises(StoreError, match=r"'~\{legion:shop\}:\*' '&\{legion:shop\}:\*'.*'shop:\{legion\}'"):
                act()


STEERING = """
push secretive | pause greet | list | logs order-1 | run | clear-locks --yes
"""


@pytest.fixture
def guarded() -> Iterator[EmbeddedValkey]:
    """A server of the test's own, on which the store's user is not the broker's."""
    with EmbeddedValkey() as server:
        yield server


@pytest.mark.e2e
def test_scheduler_worker_and_commands_need_no_more(
    make_shop: Callable[..., Shop], guarded: EmbeddedValkey, tmp_path: Path
) -> None:
    with redis.Redis.from_url(guarded.url(), decode_responses=True) as server:
        prefix = "legion:steered"
        url, pusher = (make_user(server, guarded.url(), user, prefix) for user in ("legion", "pusher"))
        enough = tmp_path / "enough"
        enough.touch()
        shop = make_shop(guarded.url(), url, "", LEGION_TEST_ENOUGH=str(enough))
        shop.module = "tests.acceptance.steered"
        worker, beat = shop.worker(), shop.beat()
        beat.wait_for("leads with epoch")
        with redis.Redis.from_url(pusher) as client:
            client.lpush(f"{{{prefix}}}:inbox", json.dumps({"job": "restock", "args": ["by-pusher"], "id": "order-1"}))
            client.publish(f"{{{prefix}}}:wake", "push")
        eventually(lambda: "by-pusher" in shop.ledger.path.read_text() if shop.ledger.path.exists() else False, 20)
        for command in commands(STEERING):
            done = shop.command(*command)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
        tried = shop.command("test", "talk")
        assert tried.returncode == 0, tried.stderr
        assert beat.terminate() == 0 and worker.terminate() == 0
        said = beat.output + worker.output
        assert "NOPERM" not in said and "refused" not in said and "Traceback" not in said, said[-3000:]
        store = open_store(StoreOptions(url=url, prefix=prefix))
        assert store.runs("restock", 1)[0].state is State.SUCCEEDED
        store.close()
        # None was turned away, but for what is a courtesy: a server keeps a list of that.
        denied = {entry["object"] for entry in server.acl_log() if entry["username"].startswith(("legion-", "pusher-"))}
        assert denied <= {"config|get", "client|setinfo"}
