"""The remote control command that makes a worker look at once whether it shall interrupt something."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from celery.worker.control import control_command

from celery_legion.interruption import RENEW
from celery_legion.worker.renewal import Renewer

renewers: WeakSet[Renewer] = WeakSet()
"""Those of this process."""


@control_command(name=RENEW)
def renew(state: Any, **_: Any) -> dict[str, str]:
    """Renew the leases of legion's runs now, and act on what the store says of them."""
    for renewer in list(renewers):
        renewer.hurry()
    return {"ok": "renewing"}
