"""The broker of ``legion dev``: the app's own, or a Valkey that comes and goes with it."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from celery_legion.cli.dev_processes import Guard
from celery_legion.cli.handover import BROKER_VARIABLES
from celery_legion.embedded import EmbeddedValkey
from celery_legion.errors import LegionError
from celery_legion.url import safe_url

ANSWERS_WITHIN = 2.0


class NoBrokerError(LegionError, ConnectionError):
    """The app's own broker does not answer, so nothing is started."""

    exit_code = 3

    def __init__(self, broker: str, cause: str) -> None:
        """*cause* goes on from the broker's name, and says what to do."""
        super().__init__(broker, cause)
        self.broker, self.cause = broker, cause

    def __str__(self) -> str:
        return f"the app's broker {self.broker} {self.cause}, or use a Valkey of dev's own with --embedded"


@contextmanager
def embedded(guard: Guard) -> Iterator[EmbeddedValkey]:
    """Run a Valkey, and have this process and those it starts use it as their broker.

    Raises:
        NoServerError: No server binary is at hand.
        ServerFailedError: It did not start.
    """
    folder = Path(tempfile.mkdtemp(prefix="legion-dev-"))
    guard.watch_folder(folder)
    server = EmbeddedValkey(folder)
    try:
        server.start()
        guard.watch(server.pid)
        for variable in BROKER_VARIABLES:
            os.environ[variable] = server.url()
        yield server
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)


def check(app: Any) -> str:
    """Return the app's broker as it may be shown, once it has answered.

    Raises:
        NoBrokerError: It has not, within :data:`ANSWERS_WITHIN` seconds.
    """
    connection = app.connection_for_write(connect_timeout=ANSWERS_WITHIN)
    url = app.conf.broker_write_url
    shown = safe_url(url) if isinstance(url, str) else safe_url(connection.as_uri())
    if connection.transport_cls == "memory":
        raise NoBrokerError(shown, "is seen by one process only: name a server as its broker")
    problems = [f"nothing within {ANSWERS_WITHIN:g} s"]

    def ask() -> None:
        try:
            connection.connect()
            # What its transport asks first of all.
            _ = connection.default_channel
            problems.clear()
        except Exception as exc:
            problems[:] = [" ".join(str(exc).split()) or type(exc).__name__]

    # Not every transport bounds its own questions.
    asking = threading.Thread(target=ask, name="legion-dev-broker", daemon=True)
    asking.start()
    asking.join(ANSWERS_WITHIN)
    if problems:
        raise NoBrokerError(shown, f"does not answer ({problems[0]}); start it")
    connection.release()
    return shown
