"""The proxy's modes: which bytes and connections each takes, loses or turns away."""

from __future__ import annotations

import socket

import pytest

from tests.servers.ends import BRIEF, ENOUGH, Server, ask, dial, hears_nothing, is_cut, is_turned_away
from tests.servers.line import abort
from tests.servers.mode import Mode
from tests.servers.polling import eventually
from tests.servers.proxy import Proxy


def test_a_blackhole_swallows_bytes_and_keeps_the_connection_open(proxy: Proxy) -> None:
    with dial(proxy) as line:
        assert ask(line, b"before") == b"before"
        proxy.blackhole()
        line.sendall(b"lost")
        assert hears_nothing(line)


def test_a_blackhole_still_takes_new_connections(proxy: Proxy) -> None:
    proxy.blackhole()
    with dial(proxy) as line:
        line.sendall(b"lost")
        assert hears_nothing(line)


def test_healing_resets_connections_that_lost_bytes_and_serves_new_ones(proxy: Proxy) -> None:
    with dial(proxy) as line:
        ask(line, b"before")
        proxy.blackhole()
        line.sendall(b"lost")
        assert hears_nothing(line)
        proxy.heal()
        assert is_cut(line)
    with dial(proxy) as line:
        assert ask(line, b"after") == b"after"


def test_refusing_cuts_open_connections_and_new_ones_until_it_passes_again(proxy: Proxy) -> None:
    with dial(proxy) as old:
        ask(old, b"before")
        proxy.mode = Mode.REFUSE
        assert is_cut(old)
    assert is_turned_away(proxy)
    proxy.heal()
    with dial(proxy) as line:
        assert ask(line, b"after") == b"after"


@pytest.mark.parametrize("mode", [Mode.BLACKHOLE, Mode.DROP, Mode.ONE_WAY_TO_SERVER])
@pytest.mark.parametrize("rudely", [False, True])
def test_the_end_of_a_server_is_not_passed_on_where_its_bytes_are_not(
    mode: Mode, rudely: bool, pair: tuple[Proxy, socket.socket, socket.socket]
) -> None:
    proxy, client, there = pair
    proxy.mode = mode
    if rudely:
        abort(there)
    else:
        there.close()
    assert hears_nothing(client)
    proxy.heal()
    assert is_cut(client)


def test_dropping_leaves_new_connections_unanswered_and_swallows_the_bytes_of_old_ones(
    pair: tuple[Proxy, socket.socket, socket.socket],
) -> None:
    proxy, client, there = pair
    proxy.mode = Mode.DROP
    for _ in range(2):
        with pytest.raises(TimeoutError):
            socket.create_connection(("127.0.0.1", proxy.port), timeout=BRIEF)
    client.sendall(b"lost")
    there.sendall(b"lost")
    assert hears_nothing(client)
    assert hears_nothing(there)


def test_after_dropping_old_connections_are_reset_and_new_ones_served(echo: tuple[str, int]) -> None:
    with Proxy(echo) as proxy, dial(proxy) as used, dial(proxy) as idle:
        ask(used, b"x")
        ask(idle, b"x")
        proxy.mode = Mode.DROP
        used.sendall(b"lost")
        assert hears_nothing(used)
        proxy.heal()
        assert is_cut(used)
        assert ask(idle, b"kept") == b"kept"
        with dial(proxy) as line:
            assert ask(line, b"after") == b"after"


def test_who_still_knocks_when_dropping_ends_gets_through(proxy: Proxy) -> None:
    proxy.mode = Mode.DROP
    with socket.socket() as line:
        line.setblocking(False)
        line.connect_ex(("127.0.0.1", proxy.port))
        proxy.heal()
        line.settimeout(ENOUGH)
        eventually(lambda: line.connect_ex(("127.0.0.1", proxy.port)) in (0, 106), what="it is connected")
        assert ask(line, b"late") == b"late"


def test_one_way_to_the_server_the_server_acts_and_the_client_never_hears(
    pair: tuple[Proxy, socket.socket, socket.socket],
) -> None:
    proxy, client, there = pair
    proxy.mode = Mode.ONE_WAY_TO_SERVER
    client.sendall(b"request")
    assert there.recv(100) == b"request"
    there.sendall(b"answer")
    assert hears_nothing(client)
    client.sendall(b"another")
    assert there.recv(100) == b"another"
    proxy.heal()
    assert is_cut(client)
    assert is_cut(there)


def test_one_way_to_the_server_holds_for_new_connections_too(server: Server) -> None:
    with Proxy(server.target) as proxy:
        proxy.mode = Mode.ONE_WAY_TO_SERVER
        with dial(proxy) as client, server.accept() as there:
            assert there.send(b"hello") == 5
            client.sendall(b"request")
            assert there.recv(100) == b"request"
            assert hears_nothing(client)


def test_one_way_to_the_client_requests_are_swallowed_and_answers_pass(
    pair: tuple[Proxy, socket.socket, socket.socket],
) -> None:
    proxy, client, there = pair
    proxy.mode = Mode.ONE_WAY_TO_CLIENT
    client.sendall(b"request")
    there.sendall(b"event")
    assert client.recv(100) == b"event"
    assert hears_nothing(there)
    proxy.heal()
    assert is_cut(client)


def test_bytes_behind_a_hole_stay_away_when_one_mode_follows_another(
    pair: tuple[Proxy, socket.socket, socket.socket],
) -> None:
    proxy, client, there = pair
    proxy.mode = Mode.BLACKHOLE
    client.sendall(b"lost")
    assert hears_nothing(there)
    proxy.mode = Mode.ONE_WAY_TO_SERVER
    client.sendall(b"torn")
    assert hears_nothing(there)
