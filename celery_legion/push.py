"""Pushes: the JSON by which anyone, in any language, asks for a run of a job now."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from celery_legion.errors import LegionError, did_you_mean
from celery_legion.job import NOTHING, ActionKind, Job

KEYS = ("job", "args", "kwargs", "id")

ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

LONGEST = 256 * 1024
"""Most characters of a push."""


class PushError(LegionError, ValueError):
    """A push cannot be read, or asks for what cannot be."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"the push cannot be handled: {self.problem}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A request for one run of a job.

    ``args`` take the place of the job's own, None leaves those; ``kwargs`` are laid over the job's own.
    """

    job: str
    args: tuple[Any, ...] | None = None
    kwargs: Mapping[str, Any] = field(default_factory=lambda: NOTHING)

    def body(self) -> str:
        """Return the push as JSON.

        Raises:
            PushError: It holds what JSON cannot, or is too long.
        """
        data: dict[str, Any] = {"job": self.job}
        if self.args is not None:
            data["args"] = list(self.args)
        if self.kwargs:
            data["kwargs"] = dict(self.kwargs)
        try:
            body = json.dumps(data, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as exc:
            raise PushError(f"its arguments cannot be JSON ({exc})") from exc
        _measure(body)
        return body


def read_push(body: str) -> Push:
    """Read a push, trusting nothing of it.

    Raises:
        PushError: It is no JSON object, has no job, says what no push says, or is too long.
    """
    _measure(body)
    try:
        data = strict_json(body)
    except (ValueError, RecursionError) as exc:
        raise PushError(f"it is no JSON ({exc})") from exc
    if not isinstance(data, dict) or not isinstance(data.get("job"), str):
        raise PushError('it is no JSON object with a "job"')
    for key in data:
        if key not in KEYS:
            raise PushError(f"{key[:50]!r} is no part of a push{did_you_mean(key, KEYS)}; write {', '.join(KEYS)}")
    args, kwargs, run_id = data.get("args"), data.get("kwargs"), data.get("id")
    if args is not None and not isinstance(args, list):
        raise PushError('"args" is no list')
    if kwargs is not None and not isinstance(kwargs, dict):
        raise PushError('"kwargs" is no object')
    if run_id is not None and not (isinstance(run_id, str) and ID.fullmatch(run_id)):
        raise PushError('"id" is no text of at most 128 letters, digits and . _ : -')
    return Push(job=data["job"], args=None if args is None else tuple(args), kwargs=kwargs or NOTHING)


def check_push(push: Push, job: Job | None, known: Iterable[str] = ()) -> Job:
    """Return the job that is pushed.

    Raises:
        PushError: There is none of that name (*known* are there), or it takes no arguments.
    """
    if job is None:
        raise PushError(f"no job is named {push.job[:200]!r}{did_you_mean(push.job[:200], known)}")
    if job.problem:
        raise PushError(f"job {job.name!r} is written wrongly: {job.problem}")
    if job.action.kind is ActionKind.COMMAND and (push.args is not None or push.kwargs):
        raise PushError(f"job {job.name!r} is a command, and takes no arguments")
    return job


def _measure(body: str) -> None:
    if len(body) > LONGEST:
        raise PushError(f"it has {len(body)} characters, and {LONGEST} are the most; send a reference to the data")


def strict_json(text: str) -> Any:
    """Return what *text* says in JSON.

    Raises:
        ValueError: It is none; NaN and what becomes infinity are none either, unlike in Python's own reading.
        RecursionError: It is nested too deeply.
    """
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _finite(number: str) -> float:
    value = float(number)
    if not isfinite(value):
        raise ValueError(f"{number} is no JSON number")
    return value
