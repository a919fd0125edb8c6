"""One proxied connection: two sockets, and the bytes on their way in each direction."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections import deque

READ_SIZE = 65536

HELD_LIMIT = 1 << 20
"""Bytes held back in one direction before its sender has to wait."""

SLICE = 0.05
"""Seconds of a limited rate that are sent at once."""


class Flow:
    """One direction: bytes read from ``source`` that wait for their time, or for ``sink`` to take them.

    Once ``lost``, it stays so: bytes behind a hole must not arrive.
    """

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source = source
        self.sink = sink
        self.ended = False
        self.lost = False
        self.blocked = False
        self.said_end = False
        self._held: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._free_at = 0.0

    @property
    def empty(self) -> bool:
        return not self._held

    @property
    def wants_read(self) -> bool:
        return not self.ended and self._size < HELD_LIMIT

    @property
    def due(self) -> float:
        """When it may go on by itself, infinity if that is not a matter of time."""
        return max(self._held[0][0], self._free_at) if self._held and not self.blocked else float("inf")

    def read(self, due: float) -> bytes:
        """Take what the source has, to be written from *due* on; raises OSError if the source is broken."""
        try:
            data = self.source.recv(READ_SIZE)
        except BlockingIOError:
            return b""
        if data:
            self._held.append((due, data))
            self._size += len(data)
        else:
            self.ended = True
        return data

    def swallow(self) -> None:
        """Lose what is held, or the end that the sink will not hear of."""
        if self._held or (self.ended and not self.said_end):
            self.lost = True
        self._held.clear()
        self._size = 0
        self.blocked = False

    def write(self, now: float, rate: float | None) -> None:
        """Pass on what is due, at most *rate* bytes a second; raises OSError if the sink is broken."""
        self.blocked = False
        while self._held and self._held[0][0] <= now and self._free_at <= now:
            due, data = self._held[0]
            piece = data if rate is None else data[: max(1, int(rate * SLICE))]
            try:
                sent = self.sink.send(piece)
            except BlockingIOError:
                self.blocked = True
                return
            self._size -= sent
            if sent == len(data):
                self._held.popleft()
            else:
                self._held[0] = (due, data[sent:])
            if rate is not None:
                self._free_at = now + sent / rate
        if self.ended and not self._held and not self.said_end:
            self.said_end = True
            self.sink.shutdown(socket.SHUT_WR)


class Line:
    """A client's connection and the one to the server; ``up`` carries requests, ``down`` answers.

    With ``cut``, the client goes as soon as what it has sent is written, and the event is set; ``closes_at`` is when
    the server's end goes after that.
    """

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.up = Flow(client, server)
        self.down = Flow(server, client)
        self.cut: threading.Event | None = None
        self.closes_at = float("inf")
        self.tail = b""
        self._watched: dict[socket.socket, int] = {}

    @property
    def lost(self) -> bool:
        return self.up.lost or self.down.lost

    @property
    def due(self) -> float:
        return min(self.up.due, self.down.due, self.closes_at)

    def watch(self, selector: selectors.BaseSelector) -> None:
        """Have *selector* report what either socket waits for now, with this line as data."""
        for sock, out, into in ((self.client, self.up, self.down), (self.server, self.down, self.up)):
            wanted = selectors.EVENT_READ * out.wants_read | selectors.EVENT_WRITE * into.blocked
            before = self._watched.get(sock, 0)
            if wanted == before:
                continue
            self._watched[sock] = wanted
            if not wanted:
                selector.unregister(sock)
            elif before:
                selector.modify(sock, wanted, self)
            else:
                selector.register(sock, wanted, self)

    def abort(self, selector: selectors.BaseSelector) -> None:
        """Reset both sockets."""
        for sock in (self.client, self.server):
            self._leave(sock, selector)
            abort(sock)

    def close(self, selector: selectors.BaseSelector) -> None:
        """Close both sockets; what was written still arrives."""
        for sock in (self.client, self.server):
            self._leave(sock, selector)
            sock.close()

    def orphan(self, selector: selectors.BaseSelector, closes_at: float) -> None:
        """Reset the client and keep the server's end, whose answer is lost."""
        self._leave(self.client, selector)
        abort(self.client)
        self.cut = None
        self.up.ended = self.up.said_end = self.down.lost = True
        self.down.swallow()
        self.closes_at = closes_at

    def _leave(self, sock: socket.socket, selector: selectors.BaseSelector) -> None:
        if self._watched.pop(sock, 0):
            selector.unregister(sock)


def abort(sock: socket.socket) -> None:
    """Close with a reset instead of a goodbye."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
