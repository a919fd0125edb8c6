"""What a run writes: into the log as it comes, and its tail for the record."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence

from celery_legion.command import MASK

LINE = 8192
"""Longest text of one log record, in bytes; longer lines are cut into several records."""

FEW = 64
"""Lines that come at once and still get a record each; of more, each record takes as many as fit in."""

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What could steer a terminal or forge a line of the log."""


def visible(text: str) -> str:
    """Return *text* with control characters escaped."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class Tail:
    """The last bytes of a stream, in memory that does not grow with it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.total = 0
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        """Take in what was written."""
        self.total += len(data)
        self._data += data[-self.limit :]
        if len(self._data) > 2 * self.limit:
            del self._data[: -self.limit]

    def text(self, mask: Callable[[bytes], bytes], shown: int) -> str | None:
        """Return at most the last *shown* bytes as masked text, None if nothing was written.

        Says in its first line how much was left out. What is no UTF-8 is escaped, and NUL replaced.
        """
        if not self.total:
            return None
        cut = mask(bytes(self._data[-self.limit :]))[-shown:].decode("utf-8", "backslashreplace")
        cut = cut.replace("\0", "\N{REPLACEMENT CHARACTER}")
        left_out = self.total - shown
        return f"[{left_out} bytes before this are in the log]\n{cut}" if left_out > 0 else cut


class Output:
    """A command's output: standard output is logged as INFO, standard error as WARNING, and both are in the tail.

    *secrets* are masked in all that leaves here, the longest first; what may be the beginning of one is held back.
    """

    def __init__(self, log: logging.Logger, limit: int, secrets: Sequence[str] = ()) -> None:
        self._log, self._limit = log, limit
        self._secrets = [secret.encode("utf-8", "surrogateescape") for secret in secrets]
        self._hold = max(map(len, self._secrets), default=1)
        self._tail = Tail(limit + self._hold)
        self._pending: dict[bool, bytes] = {False: b"", True: b""}

    def feed(self, is_error: bool, data: bytes) -> None:
        """Take in what was written."""
        self._tail.feed(data)
        block, newline, rest = (self._pending[is_error] + data).rpartition(b"\n")
        if newline:
            self._write_lines(is_error, block.split(b"\n"))
        if len(rest) > LINE + self._hold:
            rest = self._masked(rest)
        while len(rest) > LINE + self._hold:
            self._write(is_error, rest[:LINE])
            rest = rest[LINE:]
        self._pending[is_error] = rest

    def _masked(self, data: bytes) -> bytes:
        for secret in self._secrets:
            data = data.replace(secret, MASK.encode())
        return data

    def close(self) -> str | None:
        """Log what had no end of line, and return the tail."""
        for is_error, rest in self._pending.items():
            if rest:
                self._write_lines(is_error, [rest])
                self._pending[is_error] = b""
        return self._tail.text(self._masked, self._limit)

    def _write_lines(self, is_error: bool, lines: list[bytes]) -> None:
        if self._secrets:
            lines = self._masked(b"\n".join(lines)).split(b"\n")
        if len(lines) <= FEW:
            for line in lines:
                for start in range(0, len(line) or 1, LINE):
                    self._write(is_error, line[start : start + LINE])
            return
        some: list[bytes] = []
        size = 0
        for line in lines:
            if size + len(line) > LINE and some:
                self._write(is_error, b"\n".join(some))
                some, size = [], 0
            some.append(line)
            size += len(line) + 1
        self._write(is_error, b"\n".join(some))

    def _write(self, is_error: bool, data: bytes) -> None:
        level = logging.WARNING if is_error else logging.INFO
        if self._log.isEnabledFor(level):
            self._log.log(level, "%s", visible(data.decode("utf-8", "backslashreplace")))
