"""Processes whose wall clock is ours: libfaketime, preloaded, with an offset that can be changed while they run.

What was found with two builds of the library (0.9.10), Python 3.11 and glibc's ``clock_nanosleep``:

- By default both fake the monotonic clock as well. That is unreal, for a step of the wall clock is none of the
  monotonic one, and waiting with a timeout then hangs: ``threading.Event.wait`` in both, and ``time.sleep`` in the
  ``libfaketime`` 3.0.1 wheel's.
- With ``FAKETIME_DONT_FAKE_MONOTONIC=1`` Debian 12's makes ``time.sleep`` fail with EINVAL at once, since it hands a
  relative time to an absolute sleep. The wheel's sleeps, waits and selects for real seconds, also with a rate
  (``x60``), and is the one that is used here.
- A rate counts from the start of each process, so two processes with one rate never agree. An offset in
  ``FAKETIME_TIMESTAMP_FILE``, read anew at each look at the clock (``FAKETIME_NO_CACHE=1``, 40 us each), is the same
  for all processes that are given the file, to the microsecond.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

LIBRARY = Path("vendor/libfaketime/src/libfaketime.so.1")


def find_library() -> Path | None:
    """Return where the wheel's library lies, None if it is not installed (dependency group ``test``)."""
    spec = find_spec("libfaketime")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (found := Path(folder) / LIBRARY).exists():
            return found
    return None


class NoFakeTimeError(RuntimeError):
    """There is no library that fakes clocks on this machine."""

    def __str__(self) -> str:
        return "there is no libfaketime for this machine; install the dependency group 'test' on Linux"


class FakeTime:
    """A wall clock for any number of processes: the real one plus an offset, which may be set at any moment.

    Give :meth:`env` to the processes. Their monotonic clocks stay real, and so do all their waits.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.offset = timedelta(0)
        self.set_offset(self.offset)

    def env(self) -> dict[str, str]:
        """Return what the environment of a process has to have.

        Raises:
            NoFakeTimeError: The library is not installed.
        """
        library = find_library()
        if library is None:
            raise NoFakeTimeError
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Dates of files are compared with real ones by nobody here, but the fewer lies the better.
            "NO_FAKE_STAT": "1",
        }

    def now(self) -> datetime:
        """Return what the clock shows, aware and in UTC."""
        return datetime.fromtimestamp(time.time(), UTC) + self.offset

    def set_offset(self, offset: timedelta) -> None:
        """Put the clock so far ahead of the real one (negative: behind)."""
        self.offset = offset
        beside = self.file.with_suffix(".new")
        beside.write_text(f"{offset.total_seconds():+.6f}\n")
        # In one act: a process may read it at any moment.
        os.replace(beside, self.file)

    def set_time(self, moment: datetime) -> None:
        """Make the clock show *moment* now, and go on from there."""
        self.set_offset(moment - datetime.fromtimestamp(time.time(), UTC))

    def step(self, span: timedelta) -> None:
        """Set the clock by *span* ahead, or back."""
        self.set_offset(self.offset + span)


@contextmanager
def faked(clock: FakeTime) -> Iterator[None]:
    """Start processes that inherit this one's environment on *clock*; the environment is the whole process's."""
    env = clock.env()
    before = {name: os.environ.get(name) for name in env}
    os.environ.update(env)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
