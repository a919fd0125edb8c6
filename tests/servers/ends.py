"""The ends of a connection through the proxy: a client, and a server that the test plays itself."""

from __future__ import annotations

import socket

from tests.servers.proxy import Proxy

ENOUGH = 10.0
"""How long anything that must happen may take."""

BRIEF = 0.2
"""How long to look for what must not happen."""


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
