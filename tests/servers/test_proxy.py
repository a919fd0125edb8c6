"""The proxy: what each of its misbehaviours looks like to a client."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.servers.polling import eventually
from tests.servers.proxy import Mode, Proxy

ENOUGH = 10.0
"""How long anything that must happen may take."""

BRIEF = 0.3
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
    eventually(lambda: not proxy._pairs, what="no connection is left")


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
