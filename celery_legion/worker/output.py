"""What a run writes: into the log as it comes, and its tail for the record."""

from __future__ import annotations

import logging
import re
import threading
from codecs import getincrementaldecoder
from collections.abc import Iterator, Sequence

from celery_legion.command import MASK
from celery_legion.control import visible

LINE = 8192
"""Longest text of one log record, in bytes; longer lines are cut into several records."""

FEW = 64
"""Lines that come at once and still get a record each; of more, each record takes as many as fit in."""

UTF_8 = getincrementaldecoder("utf-8")


class Tail:
    """The last bytes of a stream, in memory that does not grow with it; read by another thread, too.

    What is no UTF-8 is escaped, and NUL replaced, before it is counted: the text's own bytes are what is left out
    and kept.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.total = 0
        self._data = bytearray()
        self._decoders = {stream: UTF_8(errors="backslashreplace") for stream in (False, True)}
        self._guard = threading.Lock()

    def feed(self, data: bytes, is_error: bool = False) -> None:
        """Take in what was written, to standard error or not: each may stop within a character."""
        # Most of what is written needs no second look.
        plain = data.isascii() and b"\0" not in data and not self._decoders[is_error].getstate()[0]
        self._take(data if plain else self._clean(is_error, data))

    def close(self) -> None:
        """Take in what was the beginning of a character, and no more came of it."""
        for is_error in self._decoders:
            self._take(self._clean(is_error, b"", final=True))

    def text(self) -> str | None:
        """Return the tail as text, None if nothing was written. Says in its first line how much was left out."""
        with self._guard:
            total, data = self.total, bytes(self._data[-self.limit :])
        if not total:
            return None
        # A character that the cut went through is left out as a whole.
        text = data.decode("utf-8", "ignore")
        left_out = total - len(text.encode())
        return f"[{left_out} bytes before this are in the log]\n{text}" if left_out > 0 else text

    def _clean(self, is_error: bool, data: bytes, final: bool = False) -> bytes:
        return self._decoders[is_error].decode(data, final).replace("\0", "\N{REPLACEMENT CHARACTER}").encode()

    def _take(self, data: bytes) -> None:
        with self._guard:
            self.total += len(data)
            self._data += data[-self.limit :]
            if len(self._data) > 2 * self.limit:
                del self._data[: -self.limit]


class Mask:
    """Masks secrets in a stream that comes in pieces; what may be the beginning of one is held back.

    Where several could be found, the leftmost is, and of those that begin at one place the longest.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = sorted(secrets, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, self._secrets))) if secrets else None
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Return what may be shown now."""
        if self._pattern is None:
            return data
        data, start = self._held + data, 0
        shown: list[bytes] = []
        held = self._beginning(data, start)
        for found in self._pattern.finditer(data):
            if found.start() >= held:
                # It may still become a longer one.
                break
            shown += (data[start : found.start()], MASK.encode())
            start = found.end()
            if start > held:
                held = self._beginning(data, start)
        shown.append(data[start:held])
        self._held = data[held:]
        return b"".join(shown)

    def close(self) -> bytes:
        """Return what was held back, masked as far as it is a secret."""
        held, self._held = self._held, b""
        return held if self._pattern is None else self._pattern.sub(MASK.encode(), held)

    def _beginning(self, data: bytes, start: int) -> int:
        """Return where, from *start* on, the end of *data* is the beginning of a secret: the first such place."""
        return min(_beginning(data, secret, start) for secret in self._secrets)


def _beginning(data: bytes, secret: bytes, start: int) -> int:
    at = data.find(secret[:1], max(start, len(data) - len(secret) + 1))
    while at >= 0:
        if secret.startswith(data[at:]):
            return at
        at = data.find(secret[:1], at + 1)
    return len(data)


class Output:
    """A command's output: standard output is logged as INFO, standard error as WARNING, and both are in the tail.

    Each record begins with the job's name, since Celery's format leaves out the logger's. *secrets* are masked in all
    that leaves here.
    """

    def __init__(self, log: logging.Logger, job: str, limit: int, secrets: Sequence[str] = ()) -> None:
        self._log, self._job = log, job
        found = [secret.encode("utf-8", "surrogateescape") for secret in secrets]
        self._masks = {is_error: Mask(found) for is_error in (False, True)}
        self._pending = {False: b"", True: b""}
        self._tail = Tail(limit)

    @property
    def tail(self) -> str | None:
        """The end of what was written so far, None if nothing was."""
        return self._tail.text()

    def feed(self, is_error: bool, data: bytes) -> None:
        """Take in what was written."""
        self._take(is_error, self._masks[is_error].feed(data))

    def close(self) -> str | None:
        """Log what had no end of line, and return the tail."""
        for is_error, mask in self._masks.items():
            self._take(is_error, mask.close())
            rest, self._pending[is_error] = self._pending[is_error], b""
            if rest:
                self._write_lines(is_error, [rest])
        self._tail.close()
        return self._tail.text()

    def _take(self, is_error: bool, data: bytes) -> None:
        self._tail.feed(data, is_error)
        block, newline, rest = (self._pending[is_error] + data).rpartition(b"\n")
        if newline:
            self._write_lines(is_error, block.split(b"\n"))
        if len(rest) >= LINE:
            *pieces, rest = _cut(rest)
            for piece in pieces:
                self._write(is_error, piece)
        self._pending[is_error] = rest

    def _write_lines(self, is_error: bool, lines: list[bytes]) -> None:
        pieces = [piece for line in lines for piece in _cut(line)]
        if len(lines) <= FEW:
            for piece in pieces:
                self._write(is_error, piece)
            return
        some: list[bytes] = []
        size = 0
        for piece in pieces:
            if size + len(piece) > LINE and some:
                self._write(is_error, b"\n".join(some))
                some, size = [], 0
            some.append(piece)
            size += len(piece) + 1
        self._write(is_error, b"\n".join(some))

    def _write(self, is_error: bool, data: bytes) -> None:
        level = logging.WARNING if is_error else logging.INFO
        if self._log.isEnabledFor(level):
            self._log.log(level, "%s: %s", self._job, visible(data.decode("utf-8", "backslashreplace")))


def _cut(line: bytes) -> Iterator[bytes]:
    """Yield a line in pieces that fit into a record; an empty one for an empty line."""
    for start in range(0, len(line) or 1, LINE):
        yield line[start : start + LINE]
