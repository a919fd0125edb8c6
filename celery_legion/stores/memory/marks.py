"""How far each job is accounted for, and since when it is known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from celery_legion.stores.base import Granted


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A job's last accounted fire; with who claimed it and to what verdict, so that a repeated claim gets the same.

    ``owner`` and ``granted`` are None when no claim moved the mark there. ``note`` is what the claim has noted.
    """

    fire_time: datetime
    owner: str | None = None
    granted: Granted | None = None
    holder: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A job's anchor, and the fingerprint of the trigger it was last seen with."""

    anchor: datetime
    fingerprint: str
