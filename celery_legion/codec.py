"""The evaluated message of a run, and its JSON: versioned, and never anything but data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from celery.beat import BeatLazyFunc
from kombu.exceptions import KombuError
from kombu.utils import json as kombu_json

from celery_legion.errors import LegionError
from celery_legion.job import Job

VERSION = 1

json: Any = kombu_json
"""Celery's own JSON: dates, decimals and UUIDs come back as they were."""


class CodecError(LegionError, ValueError):
    """A message cannot be written as JSON, or a text is no message."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"no message that can be kept: {self.problem}; use arguments and options that JSON can hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is sent for one run: the task's name, its evaluated arguments, and options with absolute moments."""

    task: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def evaluate(job: Job, now: datetime) -> Message:
    """Return the message of a run of *job* that is claimed *now*.

    Lazy arguments are called, once a fire. ``expires`` and ``countdown`` are counted from now, as Celery counts
    them from the sending, and made absolute, so that sending the message again later says the same.
    """
    options = dict(job.options)
    if job.queue is not None:
        options["queue"] = job.queue
    expires = options.get("expires")
    if expires is not None:
        options["expires"] = _moment(expires, now)
    countdown = options.pop("countdown", None)
    if countdown is not None:
        options["eta"] = _moment(countdown, now)
    return Message(
        task=job.action.task,
        args=tuple(_value(arg) for arg in job.args),
        kwargs={name: _value(value) for name, value in job.kwargs.items()},
        options=options,
    )


def _value(value: Any) -> Any:
    return value() if isinstance(value, BeatLazyFunc) else value


def _moment(value: Any, now: datetime) -> Any:
    if isinstance(value, timedelta):
        return now + value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return now + timedelta(seconds=value)
    return value


def encode(message: Message) -> str:
    """Return *message* as JSON that :func:`decode` reads back as equal.

    Raises:
        CodecError: It holds something that JSON cannot (an object, say, that only pickle could send).
    """
    data = {
        "v": VERSION,
        "task": message.task,
        "args": list(message.args),
        "kwargs": dict(message.kwargs),
        "options": dict(message.options),
    }
    try:
        return str(json.dumps(data))
    except (KombuError, TypeError, ValueError, RecursionError) as exc:
        raise CodecError(str(exc)) from exc


def decode(text: str) -> Message:
    """Read a message that :func:`encode` has written.

    Raises:
        CodecError: It is no JSON, of an unknown version, or of another shape.
    """
    try:
        data = json.loads(text)
    except Exception as exc:
        # The decoder also builds dates, UUIDs and the like; whatever that trips over is no message.
        raise CodecError(f"it cannot be read ({exc})") from exc
    version = data.get("v") if isinstance(data, dict) else None
    if type(version) is not int or version != VERSION:
        raise CodecError(f"version {version!r} is unknown")
    shape = (("task", str), ("args", list), ("kwargs", dict), ("options", dict))
    for name, kind in shape:
        if not isinstance(data.get(name), kind):
            raise CodecError(f"{name} is missing or no {kind.__name__}")
    return Message(task=data["task"], args=tuple(data["args"]), kwargs=data["kwargs"], options=data["options"])
