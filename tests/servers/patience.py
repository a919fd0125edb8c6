"""How long tests wait: as long as is promised, or longer where the machine is busy with other tests."""

from __future__ import annotations

import os

PATIENCE = float(os.environ.get("LEGION_TEST_PATIENCE", "1"))
"""A test that runs alone holds us to our own bounds. ``make test`` runs several at once and multiplies them."""


def patient(seconds: float) -> float:
    """Return what *seconds* on a machine that is not busy come to on this one."""
    return seconds * PATIENCE
