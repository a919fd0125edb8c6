"""Waiting for something to come true, with a deadline and a message that says what was found instead."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tests.servers.patience import patient

T = TypeVar("T")


def eventually(probe: Callable[[], T | None], deadline: float = 10.0, what: str = "", pause: float = 0.05) -> T:
    """Return the first true answer of *probe* within *deadline* seconds of a machine that is not busy.

    Fails showing the last one.
    """
    deadline = patient(deadline)
    end = time.monotonic() + deadline
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline:g} s: {what or probe}; last found: {found!r}")
        time.sleep(pause)
