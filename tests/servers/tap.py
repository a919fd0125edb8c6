"""What reached a broker, seen by its server itself and by no scheduler."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import unquote, urlsplit

from tests.servers.arrival import Arrival, read_line
from tests.servers.polling import eventually

PAUSE = 0.02
"""Seconds between two tries to connect again."""

CONNECTS_WITHIN = 5.0


class Tap:
    """Records the Celery messages pushed into one database of a Redis or Valkey, in the server's order.

    It listens from its construction on, on a connection that must lead straight to the server. ``rows`` grows from
    another thread. While the server is away it tries again; ``gaps`` tells when it heard nothing, in monotonic seconds.
    A server that is killed may have taken (and, with an append-only file, kept) what it did in its last turn before
    the start of the gap without telling the tap of it.

    Raises:
        OSError: The server cannot be reached at construction.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.rows: list[Arrival] = []
        self._address = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._login = (unquote(parts.username or "default"), unquote(parts.password or ""))
        self._db = int(parts.path.strip("/") or 0)
        self._gaps: list[tuple[float, float]] = []
        self._away_since: float | None = None
        self._closing = threading.Event()
        self._line, stream = self._connect()
        self._thread = threading.Thread(target=self._run, args=(stream,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """From when to when there was no connection; the end of one that lasts is infinity."""
        since = self._away_since
        return [*self._gaps, *([] if since is None else [(since, math.inf)])]

    def clear(self) -> None:
        """Forget the rows so far, not the gaps."""
        del self.rows[:]

    def wait_for(self, predicate: Callable[[Arrival], bool], deadline: float = 10.0) -> Arrival:
        """Return the first row, old or new, for which *predicate* is true; fail after *deadline* seconds."""
        try:
            return eventually(lambda: next(filter(predicate, list(self.rows)), None), deadline, "the row arrives", 0.01)
        except AssertionError as exc:
            last = [(row.task, row.id, row.args) for row in self.rows[-5:]]
            raise AssertionError(f"{exc}; {len(self.rows)} rows, the last: {last}; gaps: {self.gaps}") from exc

    def close(self) -> None:
        """Stop listening; the rows stay."""
        self._closing.set()
        try:
            self._line.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._thread.join(CONNECTS_WITHIN + 1)

    def _connect(self) -> tuple[socket.socket, BinaryIO]:
        line = socket.create_connection(self._address, timeout=CONNECTS_WITHIN)
        try:
            stream = line.makefile("rb")
            if self._login[1]:
                self._ask(line, stream, "AUTH", *self._login)
            self._ask(line, stream, "MONITOR")
        except BaseException:
            line.close()
            raise
        line.settimeout(None)
        return line, stream

    def _ask(self, line: socket.socket, stream: BinaryIO, *words: str) -> None:
        encoded = [word.encode() for word in words]
        line.sendall(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))
        answer = stream.readline().strip()
        if answer != b"+OK":
            # A server that still loads its data answers with an error, too.
            raise ConnectionError(f"{words[0]} was answered by {answer.decode(errors='replace')!r}")

    def _run(self, stream: BinaryIO) -> None:
        while not self._closing.is_set():
            self._listen(stream)
            if self._closing.is_set():
                break
            self._away_since = time.monotonic()
            while not self._closing.wait(PAUSE):
                try:
                    self._line, stream = self._connect()
                except OSError:
                    continue
                self._gaps.append((self._away_since, time.monotonic()))
                self._away_since = None
                break
        self._line.close()

    def _listen(self, stream: BinaryIO) -> None:
        """Record until the connection ends."""
        try:
            while (line := stream.readline()).endswith(b"\r\n"):
                self.rows += read_line(line[:-2], self._db, time.monotonic())
        except OSError:
            pass
        finally:
            stream.close()
            self._line.close()
