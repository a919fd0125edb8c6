"""The proxy: what each of its misbehaviours looks like to a client."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.servers.line import abort
from tests.servers.mode import Mode
from tests.servers.polling import eventually
from tests.servers.proxy import Proxy

ENOUGH = 10.0
"""How long anything that must happen may take."""

BRIEF = 0.2
"""How long to look for what must not happen."""


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that sends back whatever it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(line: socket.socket) -> None:
        with line, contextlib.suppress(OSError):
            while data := line.recv(65536):
                line.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()
    # A thread that waits in accept() keeps the port open until it is woken.
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.fixture
def proxy(echo: tuple[str, int]) -> Iterator[Proxy]:
    with Proxy(echo) as proxy:
        yield proxy


def dial(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=ENOUGH)


def ask(line: socket.socket, data: bytes) -> bytes:
    line.sendall(data)
    answer = b""
    while len(answer) < len(data):
        part = line.recv(65536)
        if not part:
            break
        answer += part
    return answer


def hears_nothing(line: socket.socket) -> bool:
    line.settimeout(BRIEF)
    try:
        line.recv(1)
    except TimeoutError:
        return True
    finally:
        line.settimeout(ENOUGH)
    return False


def is_cut(line: socket.socket) -> bool:
    try:
        return line.recv(1) == b""
    except ConnectionError:
        return True


def is_turned_away(proxy: Proxy) -> bool:
    # The reset may come while the client still connects, or after.
    try:
        with dial(proxy) as line:
            return is_cut(line)
    except ConnectionError:
        return True


def test_bytes_pass_both_ways_on_several_connections(proxy: Proxy) -> None:
    with dial(proxy) as one, dial(proxy) as other:
        assert ask(one, b"a" * 200_000) == b"a" * 200_000
        assert ask(other, b"other") == b"other"
        assert ask(one, b"again") == b"again"


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


def test_a_reset_is_an_error_for_the_client_not_an_end_of_stream(proxy: Proxy) -> None:
    with dial(proxy) as line:
        ask(line, b"before")
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            line.recv(1)


def test_a_server_that_is_away_resets_the_client(echo: tuple[str, int]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        target = gone.getsockname()
    with Proxy(target) as proxy:
        assert is_turned_away(proxy)


def test_a_delay_holds_bytes_back_and_loses_none(proxy: Proxy) -> None:
    with dial(proxy) as line:
        proxy.delay = 0.1
        began = time.monotonic()
        assert ask(line, b"slow") == b"slow"
        # Once on the way there, once on the way back.
        assert time.monotonic() - began >= 0.2


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


class Server:
    """A server whose side of a connection the test plays itself."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(ENOUGH)
        self.target: tuple[str, int] = self.listener.getsockname()

    def accept(self) -> socket.socket:
        line, _ = self.listener.accept()
        line.settimeout(ENOUGH)
        return line


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.listener.close()


@pytest.fixture
def pair(server: Server) -> Iterator[tuple[Proxy, socket.socket, socket.socket]]:
    """A proxy, a client connected through it, and the server's end of that."""
    with Proxy(server.target) as proxy, dial(proxy) as client, server.accept() as there:
        yield proxy, client, there


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


def test_many_small_messages_pass_quickly(proxy: Proxy) -> None:
    with dial(proxy) as line:
        ask(line, b"x")
        began = time.monotonic()
        for _ in range(1000):
            assert ask(line, b"ping") == b"ping"
        assert time.monotonic() - began < 2
