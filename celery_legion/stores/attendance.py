"""Attendance: what a worker says of itself while it is there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """A worker that knows legion: the queues it consumes and its versions, under a lease.

    ``idle`` is for how long at least it has waited for messages, with room to execute one, and received none: what
    was sent before that is no longer in its queues. Zero when it has not, or cannot tell. ``remote`` says whether it
    answers Celery's remote control: some brokers have none, and it can be switched off.
    """

    name: str
    queues: tuple[str, ...]
    version: str
    pid: int
    expires_in: timedelta = timedelta(0)
    idle: timedelta = timedelta(0)
    remote: bool = True
