"""The handover: where a running ``legion dev`` has its server, for commands in another terminal."""

from __future__ import annotations

from typing import Any


def adopt(app: Any) -> None:
    """Let *app* use the server of a ``legion dev`` that runs here, if it has no broker of its own."""
