"""Capturing what a task prints and logs, beside where it goes anyway."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from celery_legion.worker.output import Tail

_capturing: ContextVar[Capture | None] = ContextVar("legion_capture", default=None)

LOGGERS = ("", "celery.task")
"""Where records pass by: the loggers of ``get_task_logger`` may keep theirs from the root."""

CELERY = "celery."
"""Celery's own loggers speak of the task, or repeat what it prints."""


class Capture:
    """The tail of what is printed and logged in this thread (or greenlet) from now until it is closed."""

    def __init__(self, limit: int) -> None:
        self._tail = Tail(limit)
        self.on_news: Callable[[], object] = lambda: None
        self._last: logging.LogRecord | None = None
        _install()
        _capturing.set(self)

    def write(self, text: str) -> None:
        """Take in what was printed."""
        self._tail.feed(text.encode("utf-8", "backslashreplace"))
        self.on_news()

    def tail(self) -> str | None:
        """Return the end of what was written so far; None if nothing was."""
        return self._tail.text()

    def log(self, record: logging.LogRecord, text: str) -> None:
        """Take in a record, once, however many loggers it passes."""
        if record is not self._last:
            self._last = record
            self.write(f"{record.levelname}: {text}\n")

    def close(self) -> str | None:
        """Stop, and return the tail; None if nothing was written."""
        _capturing.set(None)
        return self._tail.text()


class _Tee:
    """A stream that lets the thread's capture see what is written to *stream*."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> Any:
        capture = _capturing.get()
        if capture is not None:
            capture.write(str(text))
        return self._stream.write(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Handler(logging.Handler):
    """Lets the thread's capture see the records that pass."""

    def emit(self, record: logging.LogRecord) -> None:
        capture = _capturing.get()
        if capture is not None and not record.name.startswith(CELERY):
            capture.log(record, self.format(record))


_handler = _Handler()
_handler.setFormatter(logging.Formatter("%(message)s"))


def _install() -> None:
    """Put the streams and handlers in place, as often as somebody has put others there."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, _Tee):
            setattr(sys, name, _Tee(stream))
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if _handler not in logger.handlers:
            logger.addHandler(_handler)
