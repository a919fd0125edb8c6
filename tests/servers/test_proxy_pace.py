"""The proxy's pace: its delay, its rate, and how fast it is without them."""

from __future__ import annotations

import socket
import time

from tests.servers.ends import ask, dial, hears_nothing, is_cut
from tests.servers.proxy import Proxy


def test_a_delay_holds_bytes_back_and_loses_none(proxy: Proxy) -> None:
    with dial(proxy) as line:
        proxy.delay = 0.1
        began = time.monotonic()
        assert ask(line, b"slow") == b"slow"
        # Once on the way there, once on the way back.
        assert time.monotonic() - began >= 0.2


def test_a_delay_of_one_connection_does_not_hold_up_another(proxy: Proxy) -> None:
    with dial(proxy) as slow, dial(proxy) as quick:
        ask(slow, b"x")
        ask(quick, b"x")
        proxy.delay = 0.5
        slow.sendall(b"slow")
        time.sleep(0.05)
        proxy.delay = 0.0
        began = time.monotonic()
        assert ask(quick, b"quick") == b"quick"
        assert time.monotonic() - began < 0.3
        assert slow.recv(10) == b"slow"


def test_a_delay_is_latency_and_not_a_limit_of_what_is_on_its_way(proxy: Proxy) -> None:
    proxy.delay = 0.1
    with dial(proxy) as line:
        began = time.monotonic()
        for _ in range(10):
            line.sendall(b"x")
            time.sleep(0.01)
        got = 0
        while got < 10:
            got += len(line.recv(100))
        assert 0.2 <= time.monotonic() - began < 0.9


def test_bytes_on_their_way_are_lost_to_a_blackhole(pair: tuple[Proxy, socket.socket, socket.socket]) -> None:
    proxy, client, there = pair
    proxy.delay = 0.2
    client.sendall(b"late")
    time.sleep(0.05)
    proxy.blackhole()
    assert hears_nothing(there)
    proxy.heal()
    assert is_cut(client)


def test_a_rate_limits_the_bytes_per_second_and_loses_none(proxy: Proxy) -> None:
    with dial(proxy) as line:
        ask(line, b"x")
        proxy.rate = 20_000
        began = time.monotonic()
        assert ask(line, b"y" * 8_000) == b"y" * 8_000
        assert 0.3 <= time.monotonic() - began < 2
        proxy.rate = None
        assert ask(line, b"z" * 100_000) == b"z" * 100_000


def test_many_small_messages_pass_quickly(proxy: Proxy) -> None:
    with dial(proxy) as line:
        ask(line, b"x")
        began = time.monotonic()
        for _ in range(1000):
            assert ask(line, b"ping") == b"ping"
        assert time.monotonic() - began < 2
