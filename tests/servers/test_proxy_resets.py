"""The proxy's resets: at once, or after a request."""

from __future__ import annotations

import socket

import pytest

from tests.servers.ends import Server, ask, dial, hears_nothing, is_cut
from tests.servers.polling import eventually
from tests.servers.proxy import Proxy


def test_a_reset_is_an_error_for_the_client_not_an_end_of_stream(proxy: Proxy) -> None:
    with dial(proxy) as line:
        ask(line, b"before")
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            line.recv(1)


def test_a_reset_after_a_request_comes_when_the_server_has_it_and_before_the_answer(
    pair: tuple[Proxy, socket.socket, socket.socket],
) -> None:
    proxy, client, there = pair
    hit = proxy.reset_after_request()
    client.sendall(b"request")
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert hit.is_set()
    assert there.recv(100) == b"request"
    there.sendall(b"answer")
    # The server is not disturbed at once, but its end does not stay for ever.
    assert proxy.connections == 1
    eventually(lambda: proxy.connections == 0, what="the server's end is closed")
    assert is_cut(there)


def test_a_reset_after_a_request_can_wait_for_a_certain_one_even_in_pieces(server: Server) -> None:
    with Proxy(server.target) as proxy, dial(proxy) as one, server.accept(), dial(proxy) as other, server.accept() as b:
        hit = proxy.reset_after_request(containing=b"LPUSH")
        one.sendall(b"BRPOP")
        other.sendall(b"LPU")
        assert b.recv(100) == b"LPU"
        other.sendall(b"SH")
        assert is_cut(other)
        assert hit.is_set()
        assert b.recv(100) == b"SH"
        assert hears_nothing(one)


def test_a_reset_after_a_request_happens_once_and_healing_calls_it_off(proxy: Proxy) -> None:
    proxy.reset_after_request()
    with dial(proxy) as line:
        line.sendall(b"x")
        assert is_cut(line)
    with dial(proxy) as line:
        assert ask(line, b"again") == b"again"
        hit = proxy.reset_after_request()
        proxy.heal()
        assert ask(line, b"healed") == b"healed"
    assert not hit.is_set()
