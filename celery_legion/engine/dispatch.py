"""One dispatch: a claimed run on its way to the broker, and whether it got there."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from celery_legion import command, hook
from celery_legion.codec import Message
from celery_legion.header import KEY, Header

OURS = frozenset({command.TASK, hook.TASK})
"""The tasks of ours; a user's own are serialized as he likes."""


@dataclass(slots=True, kw_only=True)
class Dispatch:
    """What is sent for one run. ``error`` and ``accepted`` are written by whoever sends it.

    ``header`` is None for a run that no worker will report on. ``publishing`` is what the publisher
    adds to the options for its transport.
    """

    run_id: str
    job: str
    message: Message
    header: Header | None
    schedule: Any = None
    fire_time: datetime | None = None
    publishing: Mapping[str, Any] = field(default_factory=dict)
    accepted: bool = False
    error: Exception | None = None

    def options(self) -> dict[str, Any]:
        """Return a fresh copy of the options for ``apply_async``: the user's, and what makes the run ours.

        The copy is deep, since Celery and monitors write into nested headers.
        """
        options: dict[str, Any] = deepcopy(dict(self.message.options))
        headers = dict(options.get("headers") or {})
        headers["celery_beat_task"] = True
        if self.message.task != hook.TASK:
            # What result backends note as the name of what sends a task on schedule.
            headers.setdefault("periodic_task_name", self.job)
        if self.header is not None:
            headers[KEY] = self.header.dump()
        options["headers"] = headers
        options["task_id"] = self.run_id
        options["retry"] = False
        if self.message.task in OURS:
            # Whatever the app, an annotation or an option says for messages.
            options["serializer"] = "json"
        options.update(self.publishing)
        return options
