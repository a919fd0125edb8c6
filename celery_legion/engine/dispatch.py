"""One dispatch: a claimed run on its way to the broker, and whether it got there."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kombu.entity import Queue

from celery_legion import command, hook
from celery_legion.codec import Message
from celery_legion.header import KEY, SENT, Header

OURS = frozenset({command.TASK, hook.TASK})
"""The tasks of ours; a user's own are serialized as he likes."""


class NotSentError(Exception):
    """The task's own code has sent no message, and that is no failure: it is queued already, say."""


class UnmadeError(Exception):
    """The job's own code has not made its message in time."""


@dataclass(slots=True, eq=False)
class Draft:
    """One message as it goes to the broker: ``fields`` are what kombu's producer hands on for it.

    ``gone`` says that the broker has it. An event of Celery's has no task's id.
    """

    fields: dict[str, Any]
    gone: bool = False

    @property
    def task_id(self) -> str | None:
        """The id of the task that it is for, in either protocol."""
        return self.fields["properties"].get("correlation_id") or None

    @property
    def headers(self) -> dict[str, Any]:
        """The message's headers, to be changed in place."""
        headers: dict[str, Any] = self.fields["headers"]
        return headers

    @property
    def exchange(self) -> str:
        """The name of the exchange, empty for the nameless one."""
        return str(self.fields["exchange"] or "")

    @property
    def routing_key(self) -> str:
        """The routing key; a queue's name for the nameless exchange."""
        return str(self.fields["routing_key"] or "")

    @property
    def declare(self) -> list[Any]:
        """What is declared before it is sent."""
        return list(self.fields["declare"] or ())

    @property
    def queues(self) -> set[str]:
        """The names of the queues that it goes to, as far as they are known."""
        if not self.exchange:
            return {self.routing_key}
        return {entity.name for entity in self.declare if isinstance(entity, Queue)}

    def rename(self, task_id: str) -> None:
        """Give its task another id; the old protocol's is in its body and stays."""
        before = self.headers.get("id")
        for name in ("id", "root_id"):
            if before is not None and self.headers.get(name) == before:
                self.headers[name] = task_id
        self.fields["properties"]["correlation_id"] = task_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What making a dispatch came to: its messages with events, and how many of the messages are the run's.

    ``guarded`` False: there are several, or every worker gets one, or the run's id is lost; then no worker asks for the
    run, nor reports on it. ``elsewhere``: they went out by another producer than ours, and are sent.
    """

    drafts: tuple[Draft, ...]
    messages: int
    guarded: bool
    elsewhere: bool


@dataclass(slots=True, kw_only=True, eq=False)
class Dispatch:
    """What is sent for one run.

    ``header`` is None for a run that no worker will report on, ``queue`` where its claim says that it goes. What
    ``apply_async`` returned is its ``result``; what came of that is ``making``, None if there is an ``error`` for which
    nothing is sent. ``accepted`` says that the broker has it all, ``nacked`` that the broker wants it later, ``late``
    that its making is not done yet.
    """

    run_id: str
    job: str
    message: Message
    header: Header | None
    schedule: Any = None
    fire_time: datetime | None = None
    queue: str | None = None
    result: Any = None
    making: Making | None = None
    accepted: bool = False
    nacked: bool = False
    late: bool = False
    error: Exception | None = None

    @property
    def unguarded(self) -> bool:
        """Whether it was to be guarded, and cannot be: that is known once its messages are made."""
        return self.header is not None and self.making is not None and not self.making.guarded

    @property
    def astray(self) -> bool:
        """Whether its message goes to another queue than :attr:`queue`, or it is not known where it went."""
        if self.queue is None or self.making is None:
            return False
        goes = [draft.queues for draft in self.making.drafts if draft.task_id is not None]
        return self.making.elsewhere or any(queues and self.queue not in queues for queues in goes)

    def options(self) -> dict[str, Any]:
        """Return a fresh copy of the options for ``apply_async``: the user's, and what makes the run ours.

        The copy is deep, since Celery and monitors write into nested headers.
        """
        options: dict[str, Any] = deepcopy(dict(self.message.options))
        headers = dict(options.get("headers") or {})
        headers["celery_beat_task"] = headers[SENT] = True
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
        return options
