"""Proxies, and servers for them to stand before."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.servers.ends import Server, dial
from tests.servers.proxy import Proxy


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
