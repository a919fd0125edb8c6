"""A small TCP proxy between a client and a server, which misbehaves on request."""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import threading
import time
from types import TracebackType
from typing import Self

from tests.servers.line import Flow, Line, abort
from tests.servers.listener import Listener
from tests.servers.mode import Mode

ORPHAN_LIVES = 1.0
"""Seconds that the server's end stays open after its client's was reset, for the server to do what was asked."""


class Proxy:
    """Listens on a free loopback port and forwards to *target*, which may be away and come back.

    ``mode``, ``delay`` (seconds that bytes take each way) and ``rate`` (bytes per second of each connection each way,
    or None) may be set at any time, from any thread.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.delay = 0.0
        self.rate: float | None = None
        self._mode = Mode.PASS
        self._lines: set[Line] = set()
        self._timed: set[Line] = set()
        self._aim: bytes | None = None
        self._hit = threading.Event()
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._listener = Listener()
        self._selector.register(self._listener.socket, selectors.EVENT_READ)
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._ear.setblocking(False)
        self._selector.register(self._ear, selectors.EVENT_READ)
        self._running = True
        self.port = self._listener.port
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._lines)

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        with self._lock:
            self._change(mode)
        self._wake()

    def blackhole(self) -> None:
        """Go half-open: nothing gets through any more, nobody is told."""
        self.mode = Mode.BLACKHOLE

    def heal(self) -> None:
        """Forward again; connections that lost bytes or were made meanwhile without a server are reset.

        ``delay`` and ``rate`` stay. A :meth:`reset_after_request` that waits is called off.
        """
        # In one step: a connection that lost bytes must not pass a later one before it is reset.
        with self._lock:
            self._aim = None
            self._change(Mode.PASS)
        self._wake()

    def reset(self) -> None:
        """Reset every open connection."""
        with self._lock:
            for line in list(self._lines):
                self._drop(line)

    def reset_after_request(self, containing: bytes = b"") -> threading.Event:
        """Let the next request that holds *containing* reach the server, and reset its client before the answer comes.

        Other connections, and the server's work on the request, go on. The event is set when it has happened.
        """
        with self._lock:
            for line in self._lines:
                line.tail = b""
            self._aim = containing
            self._hit = threading.Event()
            return self._hit

    def close(self) -> None:
        """Stop and close everything."""
        self._running = False
        self._wake()
        self._thread.join(5)
        self.reset()
        for one in (self._listener, self._bell, self._ear):
            one.close()
        self._selector.close()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._bell.send(b".")

    def _change(self, mode: Mode) -> None:
        was, self._mode = self._mode, mode
        if was is not mode and Mode.DROP in (was, mode):
            if was is Mode.DROP:
                self._listener.answer()
                self._selector.register(self._listener.socket, selectors.EVENT_READ)
            else:
                self._selector.unregister(self._listener.socket)
                self._listener.hang()
        for line in list(self._lines):
            if mode is Mode.REFUSE or (mode is Mode.PASS and line.lost):
                self._drop(line)
            else:
                self._move(line)

    def _run(self) -> None:
        while self._running:
            with self._lock:
                soonest = min((line.due for line in self._timed), default=None)
            events = self._selector.select(None if soonest is None else max(0.0, soonest - time.monotonic()))
            with self._lock:
                for key, mask in events:
                    if isinstance(key.data, Line):
                        # One that went meanwhile may have left its number to another socket.
                        if key.data in self._lines:
                            self._serve(key.data, key.fileobj is key.data.client, bool(mask & selectors.EVENT_READ))
                    elif key.fileobj is self._ear:
                        self._ear.recv(4096)
                    else:
                        self._accept()
                now = time.monotonic()
                for line in [line for line in self._timed if line.due <= now]:
                    if line.closes_at <= now:
                        self._drop(line)
                    else:
                        self._move(line)

    def _accept(self) -> None:
        # Who fills the queue while it drops must stay there.
        client = self._listener.accept() if self._mode is not Mode.DROP else None
        if client is None:
            return
        if self._mode is Mode.REFUSE:
            abort(client)
            return
        server = socket.socket()
        line = Line(client, server)
        for sock in (client, server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._mode is Mode.BLACKHOLE:
            line.up.lost = line.down.ended = line.down.lost = True
        self._lines.add(line)
        if self._mode is not Mode.BLACKHOLE and server.connect_ex(self.target) not in (0, errno.EINPROGRESS):
            self._break(line, line.down)
        else:
            line.watch(self._selector)

    def _serve(self, line: Line, of_client: bool, readable: bool) -> None:
        if readable:
            flow = line.up if of_client else line.down
            try:
                data = flow.read(time.monotonic() + self.delay)
            except OSError:
                self._break(line, flow)
                return
            if of_client and self._aim is not None and data and not self._swallows(line, flow):
                self._take_aim(line, data)
        self._move(line)

    def _take_aim(self, line: Line, data: bytes) -> None:
        aim = self._aim or b""
        # It may come in pieces.
        line.tail += data
        if aim in line.tail:
            self._aim, line.cut = None, self._hit
        line.tail = line.tail[-len(aim) :]

    def _swallows(self, line: Line, flow: Flow) -> bool:
        return flow.lost or (self._mode.swallows_requests if flow is line.up else self._mode.swallows_answers)

    def _move(self, line: Line) -> None:
        now = time.monotonic()
        for flow, back in ((line.up, line.down), (line.down, line.up)):
            if self._swallows(line, flow):
                flow.swallow()
                continue
            try:
                flow.write(now, self.rate)
            except OSError:
                # It is the sink that is broken: what comes from there ends.
                self._break(line, back)
                return
        if line.up.said_end and line.down.said_end:
            self._forget(line)
            line.close(self._selector)
            return
        if line.cut is not None and line.up.empty and not line.up.lost:
            line.cut.set()
            line.orphan(self._selector, now + ORPHAN_LIVES)
        self._settle(line)

    def _break(self, line: Line, flow: Flow) -> None:
        """The source of *flow* is broken: tell the other side, if it may hear of it."""
        if not self._swallows(line, flow):
            self._drop(line)
            return
        for one in (line.up, line.down):
            one.lost = True
            one.swallow()
        flow.ended = True
        self._settle(line)

    def _settle(self, line: Line) -> None:
        line.watch(self._selector)
        if line.due < float("inf"):
            self._timed.add(line)
        else:
            self._timed.discard(line)

    def _drop(self, line: Line) -> None:
        self._forget(line)
        line.abort(self._selector)

    def _forget(self, line: Line) -> None:
        self._lines.discard(line)
        self._timed.discard(line)
