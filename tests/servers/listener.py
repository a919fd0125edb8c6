"""A listening socket that can leave greetings unanswered, as a firewall that drops them would."""

from __future__ import annotations

import contextlib
import socket

from tests.servers.line import abort

BACKLOG = 128


class Listener:
    """Listens on a free loopback port; ``accept`` returns None if nobody is there."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self.socket.setblocking(False)
        self.port: int = self.socket.getsockname()[1]
        self._fillers: list[socket.socket] = []

    def accept(self) -> socket.socket | None:
        try:
            return self.socket.accept()[0]
        except OSError:
            return None

    def hang(self) -> None:
        """Fill the queue, so that the kernel (of Linux) drops all further greetings; nobody must accept until then."""
        self.socket.listen(0)
        for _ in range(2):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))
            self._fillers.append(filler)

    def answer(self) -> None:
        """Reset all in the queue and answer again; who still tries gets through when their kernel repeats itself."""
        self._close_fillers()
        while client := self.accept():
            abort(client)
        self.socket.listen(BACKLOG)

    def close(self) -> None:
        self._close_fillers()
        self.socket.close()

    def _close_fillers(self) -> None:
        while self._fillers:
            with contextlib.suppress(OSError):
                self._fillers.pop().close()
