"""How a scheduler begins and ends: its banner, its answers, its lead and its exit code."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery import beat as celery_beat

from celery_legion.embedded import EmbeddedValkey
from celery_legion.stores import open_store
from celery_legion.stores.base import Store, StoreOptions
from tests.acceptance.conftest import Shop
from tests.servers.processes import ROOT
from tests.servers.proxy import Proxy

pytestmark = pytest.mark.e2e

PROMPT = 2.0


@pytest.fixture
def store(redis_url: str) -> Store:
    """The app's store, seen from outside."""
    return open_store(StoreOptions(url=redis_url, prefix="legion:acceptance"))


@pytest.fixture
def proxy(valkey: EmbeddedValkey) -> Iterator[Proxy]:
    with Proxy(("127.0.0.1", valkey.port)) as made:
        yield made


def through(proxy: Proxy, url: str) -> str:
    """Return *url* with the proxy's port."""
    head, _, tail = url.rpartition(":")
    return f"{head}:{proxy.port}/{tail.partition('/')[2]}"


@pytest.mark.parametrize("terms", [1, 2])
def test_a_leader_that_is_told_to_end_does_so_at_once_and_leaves_no_lease(
    terms: int, make_shop: Callable[..., Shop], redis_url: str, store: Store, tmp_path: Path
) -> None:
    before = {path.name for path in ROOT.iterdir()}
    shop = make_shop(redis_url, redis_url, "tick", LEGION_TEST_LEASE="60")
    beat = shop.beat()
    beat.wait_for("leads with epoch 1")
    assert [lead.epoch for lead in store.schedulers()] == [1]
    started = time.monotonic()
    for _ in range(terms):
        beat.signal(signal.SIGTERM)

    assert beat.wait(10) == 0
    assert time.monotonic() - started < PROMPT
    assert store.schedulers() == []
    assert "Traceback" not in beat.output
    assert f"store -> {redis_url.partition('://:')[0]}://:***@" in beat.output
    assert redis_url.split(":")[2].partition("@")[0] not in beat.output
    # Where beat keeps its schedule, and where we keep none.
    assert {path.name for path in ROOT.iterdir()} - before == set()


def test_a_second_signal_in_the_middle_of_the_resignation_does_not_undo_it(
    make_shop: Callable[..., Shop], redis_url: str, store: Store, proxy: Proxy
) -> None:
    shop = make_shop(redis_url, through(proxy, redis_url), "tick", LEGION_TEST_LEASE="60")
    beat = shop.beat()
    beat.wait_for("leads with epoch 1")
    # A slow line, so that the first signal's handler is still talking when the second comes.
    proxy.delay = 0.03
    time.sleep(0.5)
    beat.signal(signal.SIGTERM)
    time.sleep(0.06)
    beat.signal(signal.SIGTERM)

    assert beat.wait(10) == 0
    assert store.schedulers() == []


@pytest.mark.parametrize("silent", ["store", "broker"])
def test_a_scheduler_whose_servers_are_silent_ends_promptly_all_the_same(
    silent: str, make_shop: Callable[..., Shop], redis_url: str, proxy: Proxy
) -> None:
    urls = {"store": redis_url, "broker": redis_url, silent: through(proxy, redis_url)}
    shop = make_shop(urls["broker"], urls["store"], "tick")
    beat = shop.beat()
    beat.wait_for("leads with epoch 1")
    proxy.blackhole()
    time.sleep(1.5)
    started = time.monotonic()
    beat.signal(signal.SIGTERM)

    assert beat.wait(10) == 0
    assert time.monotonic() - started < PROMPT
    assert "Traceback" not in beat.output


def test_the_leader_hands_over_when_it_is_told_to_end_and_a_standby_answers_pings(
    make_shop: Callable[..., Shop], redis_url: str
) -> None:
    shop = make_shop(redis_url, redis_url, "tick", LEGION_TEST_LEASE="60")
    shop.worker()
    pings = hasattr(celery_beat, "BeatPidbox")
    first = shop.beat()
    first.wait_for("leads with epoch 1")
    second = shop.beat(*(("--enable-remote-control", "-n", "standby@%h") if pings else ()))
    second.wait_for("beat: Starting")
    time.sleep(1.5)
    assert "leads" not in second.output
    if pings:
        answer = shop.celery("inspect", "ping", "--timeout", "3")
        assert answer.returncode == 0, answer.stderr
        assert "standby@" in answer.stdout
        assert "pong" in answer.stdout
    started = time.monotonic()
    assert first.terminate() == 0
    second.wait_for("leads with epoch 2", 5)
    # Generous against a busy machine: without the hand-over it would be the lease, a minute.
    assert time.monotonic() - started < PROMPT + 1
    assert second.terminate() == 0
    fires = [line["fire"] for line in shop.ledger.starts("tick")]
    assert len(fires) == len(set(fires))
