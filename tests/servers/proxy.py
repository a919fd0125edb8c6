"""A small TCP proxy between a client and a server, which misbehaves on request."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from enum import Enum
from types import TracebackType
from typing import Self


class Mode(Enum):
    """``PASS`` forwards; ``BLACKHOLE`` keeps sockets open and swallows bytes both ways; ``REFUSE`` resets new and old
    connections."""

    PASS = "pass"
    BLACKHOLE = "blackhole"
    REFUSE = "refuse"


class Proxy:
    """Listens on a free loopback port and forwards to *target*; ``mode`` and ``delay`` may be set at any time."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.delay = 0.0
        self._mode = Mode.PASS
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._running = True
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        if mode is Mode.REFUSE:
            self.reset()

    def blackhole(self) -> None:
        """Go half-open: nothing gets through any more, nobody is told."""
        self.mode = Mode.BLACKHOLE

    def heal(self) -> None:
        """Forward again; connections that were made or used meanwhile are reset, since bytes of theirs are lost."""
        # In one step: a connection that lost bytes must not pass a later one before it is reset.
        with self._lock:
            if self._mode is Mode.BLACKHOLE:
                self._drop_all()
            self._mode = Mode.PASS

    def reset(self) -> None:
        """Reset every open connection."""
        with self._lock:
            self._drop_all()

    def close(self) -> None:
        """Stop and close everything."""
        self._running = False
        self._thread.join(5)
        self.reset()
        self._listener.close()
        self._selector.close()

    def _run(self) -> None:
        while self._running:
            for key, _ in self._selector.select(0.05):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._forward(key.fileobj)  # type: ignore[arg-type]

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        if self._mode is Mode.REFUSE:
            _abort(client)
            return
        try:
            server = socket.create_connection(self.target, timeout=2)
        except OSError:
            _abort(client)
            return
        with self._lock:
            for here, there in ((client, server), (server, client)):
                here.settimeout(5)
                self._pairs[here] = there
                self._selector.register(here, selectors.EVENT_READ)

    def _forward(self, source: socket.socket) -> None:
        with self._lock:
            target = self._pairs.get(source)
            if target is None:
                return
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            if self._mode is Mode.BLACKHOLE:
                if not data:
                    # The other side must not learn of it: only this one's watching ends.
                    with contextlib.suppress(KeyError, ValueError):
                        self._selector.unregister(source)
                return
            if not data:
                self._drop(source)
                return
            if self.delay:
                time.sleep(self.delay)
            try:
                target.sendall(data)
            except OSError:
                self._drop(source)

    def _drop_all(self) -> None:
        for sock in list(self._pairs):
            self._drop(sock)

    def _drop(self, sock: socket.socket) -> None:
        other = self._pairs.pop(sock, None)
        for one in (sock, other):
            if one is not None:
                self._pairs.pop(one, None)
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(one)
                _abort(one)


def _abort(sock: socket.socket) -> None:
    """Close with a reset instead of a goodbye."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
