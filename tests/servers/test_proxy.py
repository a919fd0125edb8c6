"""The proxy passes what comes, knows its connections, and outlives its server."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from tests.servers.ends import BRIEF, ask, dial, is_cut, is_turned_away
from tests.servers.polling import eventually
from tests.servers.proxy import Proxy


def test_bytes_pass_both_ways_on_several_connections(proxy: Proxy) -> None:
    with dial(proxy) as one, dial(proxy) as other:
        assert ask(one, b"a" * 200_000) == b"a" * 200_000
        assert ask(other, b"other") == b"other"
        assert ask(one, b"again") == b"again"


def test_a_server_that_is_away_resets_the_client(echo: tuple[str, int]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        target = gone.getsockname()
    with Proxy(target) as proxy:
        assert is_turned_away(proxy)


def test_a_client_that_leaves_is_forgotten(proxy: Proxy) -> None:
    with dial(proxy) as line:
        ask(line, b"x")
    eventually(lambda: proxy.connections == 0, what="no connection is left")


def test_modes_may_change_from_other_threads_under_traffic(proxy: Proxy) -> None:
    failures: list[BaseException] = []

    def talk() -> None:
        try:
            for _ in range(40):
                with contextlib.suppress(ConnectionError), dial(proxy) as line:
                    line.settimeout(0.05)
                    with contextlib.suppress(TimeoutError):
                        ask(line, b"x" * 1000)
        except BaseException as exc:
            failures.append(exc)

    talkers = [threading.Thread(target=talk) for _ in range(3)]
    for talker in talkers:
        talker.start()
    while any(talker.is_alive() for talker in talkers):
        for change in (proxy.blackhole, proxy.heal, proxy.reset):
            change()
    assert failures == []
    proxy.heal()
    with dial(proxy) as line:
        assert ask(line, b"alive") == b"alive"


def test_closing_frees_the_port_and_ends_the_thread(echo: tuple[str, int]) -> None:
    proxy = Proxy(echo)
    with dial(proxy) as line:
        ask(line, b"x")
        proxy.close()
        assert is_cut(line)
    with pytest.raises(ConnectionRefusedError):
        dial(proxy)
    assert not proxy._thread.is_alive()


def test_the_end_of_one_side_reaches_the_other_after_all_its_bytes(
    pair: tuple[Proxy, socket.socket, socket.socket],
) -> None:
    proxy, client, there = pair
    client.sendall(b"q" * 300_000)
    client.shutdown(socket.SHUT_WR)
    got = b""
    while part := there.recv(65536):
        got += part
    assert len(got) == 300_000
    there.sendall(b"bye")
    there.close()
    assert client.recv(10) == b"bye"
    assert client.recv(10) == b""
    eventually(lambda: proxy.connections == 0, what="the connection is forgotten")


def test_a_sender_has_to_wait_while_its_receiver_does(pair: tuple[Proxy, socket.socket, socket.socket]) -> None:
    _, client, there = pair
    client.settimeout(BRIEF)
    with pytest.raises(TimeoutError):
        client.sendall(b"x" * 50_000_000)
    assert len(there.recv(1000)) == 1000


def test_it_serves_again_when_its_server_is_back(echo: tuple[str, int]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        target = gone.getsockname()
    with Proxy(target) as proxy:
        assert is_turned_away(proxy)
        with socket.create_server(target) as back, dial(proxy) as line:
            there, _ = back.accept()
            with there:
                line.sendall(b"hello")
                assert there.recv(10) == b"hello"
