"""A Valkey whose clock stands until it is moved: libfaketime reads the time from a file that a test writes."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import redis

from celery_legion.embedded import EmbeddedValkey

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def find_library() -> Path | None:
    """Return the library that fakes the time, None where it is not installed."""
    spec = find_spec("libfaketime")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for found in Path(folder).glob("vendor/libfaketime/src/libfaketime.so.1"):
            return found
    return None


class FrozenValkey:
    """The server and its clock, which moves in whole seconds and stands to the millisecond."""

    def __init__(self, folder: Path, library: Path) -> None:
        self.folder = folder
        self.moment = START
        self._library = library
        self._stamp = folder / "now"
        self._server = EmbeddedValkey(folder / "server")

    def start(self) -> None:
        self._write()
        faked = {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._stamp),
            "FAKETIME_NO_CACHE": "1",
            "TZ": "UTC",
        }
        before = {name: os.environ.get(name) for name in faked}
        os.environ.update(faked)
        try:
            self._server.start()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
        assert redis.Redis.from_url(self.url).time()[0] == int(self.moment.timestamp())

    @property
    def url(self) -> str:
        return self._server.url(0)

    def now(self) -> datetime:
        return self.moment

    def advance(self, span: timedelta) -> None:
        self.moment += span
        self._write()

    def reset(self) -> None:
        """Empty it and turn its clock back."""
        redis.Redis.from_url(self.url).flushdb()
        self.moment = START
        self._write()

    def close(self) -> None:
        # It would end politely at its next turn, which never comes: all its clocks stand.
        self._server.kill()
        self._server.close()

    def _write(self) -> None:
        fresh = self.folder / "now.new"
        fresh.write_text(f"{self.moment:%Y-%m-%d %H:%M:%S}\n")
        # The server may read it in the middle of a write.
        fresh.replace(self._stamp)
