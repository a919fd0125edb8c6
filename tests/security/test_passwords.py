"""Passwords and other secrets are in no log, no error, no listing, no record and no list of processes."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from urllib.parse import quote

import pytest
import redis
from celery import Celery
from celery.app.utils import bugreport

from celery_legion import Legion
from celery_legion.config import Config
from celery_legion.embedded import EmbeddedValkey
from celery_legion.stores import open_store
from celery_legion.stores.base import StoreOptions
from celery_legion.url import safe_url
from tests.acceptance.conftest import Shop
from tests.servers.processes import Process

MARK = "s3cr3t"
AWKWARD = f"a/b#c?d@e:f%g{MARK}&h=[i] ß"
"""A password of all that means something in a URL."""

URLS = [
    f"redis://:{MARK}@h/0",
    f"redis://user:{MARK}@h:1/0",
    f"redis://user:{quote(AWKWARD, safe='')}@h/0",
    f"redis://user:a/{MARK}@h:1/0",
    f"redis://user:1/{MARK}@h:1/0",
    f"redis://user:a#{MARK}@h/0",
    f"redis://user:a?{MARK}@h/0",
    f"redis://user:a@{MARK}@h/0",
    f"redis://user:[{MARK}@h/0",
    f"redis://user:{MARK}@h:port/0",
    f"redis://{MARK}@h/0",
    f"redis://h/0?password={MARK}",
    f"redis://h/0?db=1&PASSWORD={MARK}&x=1",
    f"redis://h/0?db=1;password={MARK}",
    f"redis://h/0?pass%77ord={MARK}",
    f"redis://h/0?password=a#{MARK}",
    f"redis://h/0?ssl_password={MARK}&ssl_keyfile=/key.pem",
    f"redis://h/0?token={MARK}",
    f"redis://h/0?credential_provider={MARK}",
    f"redis://h/0?sentinel_kwargs=%7B%22password%22%3A%22{MARK}%22%7D",
    f"rediss://user:{MARK}@[::1]:6379/0",
    f"unix://user:{MARK}@/run/valkey.sock?db=1",
    f"sentinel://user:{MARK}@a:1;sentinel://user:{MARK}@b:1",
    f"redis://a;redis://:{MARK}@b",
    f"user:{MARK}@h",
    f"//[{MARK}",
]
SETTINGS = ("legion_store_url", "legion_store_ur", "legion_timezone")


@pytest.mark.parametrize("url", URLS)
def test_a_url_is_shown_without_its_password(url: str) -> None:
    assert MARK not in safe_url(url)
    assert safe_url(safe_url(url)) == safe_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h:1/0?db=1&ssl_ca_certs=/ca.pem",
        "unix:///run/x.sock",
        "redis://[::1]:1/0",
        "",
        "Europe/Oslo",
    ],
)
def test_a_url_without_a_password_is_shown_as_it_is(url: str) -> None:
    assert safe_url(url) == url


def listings(app: Celery) -> str:
    """Return all that Celery, its monitors and we show of an app's configuration."""
    # What `inspect conf` and Flower's page show is the table; what `celery report` does is the rest.
    return f"{app.conf.table(with_defaults=False, censored=True)}\n{bugreport(app)}"


def outcome(act: Callable[[], object]) -> str:
    """Return what is shown of what *act* returns, or of the error that it raises."""
    try:
        return repr(act())
    except Exception as exc:
        return "".join(traceback.format_exception(exc))


@pytest.mark.parametrize("namespace", [None, "CELERY"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_no_listing_of_settings_and_no_error_of_one_shows_it(setting: str, namespace: str | None) -> None:
    for url in URLS:
        app = Celery("shop", broker="redis://h/0", set_as_current=False)
        app.config_from_object({f"CELERY_{setting.upper()}" if namespace else setting: url}, namespace=namespace)
        Legion(app)
        assert MARK not in listings(app), url
        assert MARK not in outcome(partial(Config.of, app)), url
        assert MARK not in app.conf.humanize(with_defaults=True), url


@pytest.mark.parametrize("url", [url for url in URLS if url.startswith("redis://") and ";" not in url])
def test_a_broker_that_is_the_store_shows_it_neither(url: str) -> None:
    app = Celery("shop", broker=url, set_as_current=False)
    Legion(app)
    assert MARK not in outcome(lambda: open_store(StoreOptions(url=Config.of(app).store_url, prefix="p")).ping())


def test_passwords_that_are_no_url_s_are_celery_s_to_mask() -> None:
    app = Celery("shop", broker=f"redis://user:{MARK}@h/0", backend=f"redis://:{MARK}@h/1", set_as_current=False)
    app.conf.broker_transport_options = {"sentinel_kwargs": {"password": MARK}, "master_name": "m"}
    app.conf.result_backend_transport_options = {"sentinel_kwargs": {"password": MARK}}
    app.conf.redis_password = MARK
    Legion(app)

    assert MARK not in listings(app)


SECRETS = {"SECRET_TOKEN": "t0ken", "SECRET_UNNAMED": "unn4med", "SECRET_PING": "p1ng", "SECRET_SENTINEL": "sent1nel"}
BROKER, STORE = f"br0ker-{AWKWARD}", f"st0re-{AWKWARD}"
MARKS = [*(f"{value}-{MARK}" for value in SECRETS.values()), MARK, "br0ker", "st0re"]


@pytest.fixture
def server() -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey() as server:
        yield server


def all_of(client: redis.Redis) -> bytes:
    """Return all that a server holds, as text: names and values."""
    found = []
    for key in client.scan_iter(count=1000):
        kind = client.type(key)
        read: dict[bytes, Callable[[Any], Any]] = {
            b"hash": client.hgetall,
            b"list": lambda key: client.lrange(key, 0, -1),
            b"set": client.smembers,
            b"zset": lambda key: client.zrange(key, 0, -1),
            b"string": client.get,
        }
        found.append(repr((key, read[kind](key))).encode())
    return b"\n".join(found)


def process_list() -> bytes:
    """Return every process's command line, as `ps` shows it to everybody."""
    lines = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(place.read_bytes().replace(b"\0", b" "))
        except OSError:
            pass
    return b"\n".join(lines)


@pytest.mark.e2e
def test_secrets_are_nowhere_whatever_becomes_of_the_server(
    make_shop: Callable[..., Shop], server: EmbeddedValkey
) -> None:
    admin = redis.Redis.from_url(server.url())
    urls = []
    for user, password, db in (("broker", BROKER, 0), ("store", STORE, 1)):
        admin.execute_command("ACL", "SETUSER", user, "reset", "on", f">{password}", "~*", "&*", "+@all")
        urls.append(f"redis://{user}:{quote(password, safe='')}@127.0.0.1:{server.port}/{db}")
    secrets = {name: f"{value}-{MARK}" for name, value in SECRETS.items()}
    shop = make_shop(*urls, "", **secrets)
    shop.module = "tests.security.secretive"
    worker, beat = (start(shop, *args) for args in (("worker", "--without-mingle", "-c", "2"), ("legion", "work")))
    worker.wait_for(r"ready\.", 40)
    beat.wait_for("leads with epoch")
    worker.wait_for(r"the token is \*\*\*", 20)
    # Its shim and its shell are at work now.
    listed = process_list()
    assert b"shim.py" in listed and b"valkey" in listed
    worker.wait_for("A hook of job telling failed: the ping to 127.0.0.1 failed", 20)

    said = ask(shop, "report", "inspect conf", "legion history --json")
    assert [done.returncode for done in said] == [0, 0, 0], said
    assert "legion_store_url: 'redis://store:***@" in said[0].stdout
    assert "***" in said[1].stdout and "the token is ***" in said[2].stdout
    kept = all_of(admin) + all_of(redis.Redis.from_url(server.url(1)))
    assert b"telling" in kept

    # The passwords are changed, and all that is connected is thrown out.
    for user in ("broker", "store"):
        admin.execute_command("ACL", "SETUSER", user, "resetpass", ">another")
        admin.execute_command("CLIENT", "KILL", "USER", user)
    beat.wait_for("cannot be reached")
    worker.wait_for("(?i)invalid username-password|WRONGPASS|AuthenticationError", 20)
    turned_away = ask(shop, "legion list", "legion run")
    assert [done.returncode for done in turned_away] == [3, 3], turned_away
    server.stop()
    worker.wait_for("refused", 20)
    away = ask(shop, "legion test telling")
    assert [done.returncode for done in away] == [3], away
    beat.terminate()
    worker.signal(signal.SIGQUIT)
    worker.terminate()

    everything = {
        "process list": listed.decode(errors="replace"),
        "servers": kept.decode(errors="replace"),
        "beat": beat.output,
        "worker": worker.output,
        **{" ".join(done.args[4:]): done.stdout + done.stderr for done in (*said, *turned_away, *away)},
    }
    assert "DEBUG" in beat.output and "DEBUG" in worker.output
    found = {(name, mark) for name, text in everything.items() for mark in MARKS if mark in text}
    # The broker's own lists are in what the servers hold; and nothing of all that is anywhere.
    assert found == set()


def start(shop: Shop, *args: str) -> Process:
    return shop.processes.celery(shop.module, *args, "--loglevel", "DEBUG", env=shop.env)


def ask(shop: Shop, *lines: str) -> list[CompletedProcess[str]]:
    """Run commands side by side."""
    with ThreadPoolExecutor(len(lines)) as pool:
        return list(pool.map(lambda line: shop.celery(*line.split()), lines))
