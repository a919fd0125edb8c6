"""Jobs: what stands on the schedule, as frozen data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import time, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from celery_legion.command import Command
from celery_legion.hook import NO_HOOKS, Hooks
from celery_legion.triggers import Trigger
from celery_legion.triggers.broken import Broken

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Overlap(StrEnum):
    """What happens to a fire while an earlier run of the job is not over."""

    SKIP = "skip"
    ALLOW = "allow"


class CatchUp(StrEnum):
    """Which of the fires that fell due while nobody scheduled are run.

    None, the latest, or all within window and limit.
    """

    SKIP = "skip"
    ONCE = "once"
    ALL = "all"


class Source(StrEnum):
    """Where a job was written: in code, by a live change, or in Celery's ``beat_schedule``."""

    CODE = "code"
    DYNAMIC = "dynamic"
    BEAT = "beat"


class ActionKind(StrEnum):
    """What a job does. A callable is made a Celery task when it is registered, so both are sent by name.

    A command is executed by a task of ours, which looks it up in the worker's registry.
    """

    TASK = "task"
    CALLABLE = "callable"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Action:
    """What a job does: the name of the Celery task that is sent, and what it was written as."""

    task: str
    kind: ActionKind = ActionKind.TASK
    command: Command | None = None

    @property
    def readable(self) -> str:
        """What a job does, for people."""
        return self.task if self.command is None else self.command.readable


@dataclass(frozen=True, slots=True)
class Between:
    """A daily window in a zone, from ``start`` to before ``end`` (which may lie past midnight).

    ``inside`` False = outside it.
    """

    start: time
    end: time
    timezone: str = "UTC"
    inside: bool = True


Condition = Callable[[], object]
"""A predicate. What it returns is judged by truth; a returned string is the recorded reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules a job is run by. Interned by the registry: most jobs share one.

    None means the setting of that name decides (``legion_lock_ttl``, ``legion_catch_up`` …).
    ``limit`` is how many runs may overlap: 1 for skip, 0 for no bound. ``send_deadline`` is how long after its fire
    time a run may still be sent by the schedule, ``start_deadline`` how long after its fire
    time a run may still begin. ``capture_output`` keeps what a task or callable prints and logs.
    """

    overlap: Overlap = Overlap.SKIP
    lock_name: str | None = None
    lock_ttl: timedelta | None = None
    catch_up: CatchUp | None = None
    catch_up_window: timedelta | None = None
    catch_up_limit: int = 100
    send_deadline: timedelta | None = None
    start_deadline: timedelta | None = None
    when: tuple[Condition, ...] = ()
    skip: tuple[Condition, ...] = ()
    between: tuple[Between, ...] = ()
    hooks: Hooks = NO_HOOKS
    capture_output: bool = False

    @property
    def limit(self) -> int:
        """How many runs may hold the lock at once; 0 = no lock."""
        return 0 if self.overlap is Overlap.ALLOW else 1


DEFAULT_POLICY = Policy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A named thing on the schedule: an action, a trigger, and policies.

    ``schedule`` is Celery's own schedule object where the job came from one or can be said as one (monitors read
    it), else None. ``options`` are passed through to ``apply_async`` untouched. ``place`` is ``file:line`` of where
    it was written. ``description`` is text for people. ``args`` and ``kwargs`` may hold Celery's ``BeatLazyFunc``,
    evaluated once per fire.
    """

    name: str
    action: Action
    trigger: Trigger
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    options: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    queue: str | None = None
    tags: tuple[str, ...] = ()
    description: str = ""
    enabled: bool = True
    source: Source = Source.CODE
    policy: Policy = DEFAULT_POLICY
    place: str = ""
    schedule: Any = None

    @property
    def problem(self) -> str:
        """What is wrong with how it was written, so that it can neither fire nor be run; empty if nothing is."""
        return self.trigger.problem if isinstance(self.trigger, Broken) else ""

    @property
    def lock(self) -> str:
        """The name of the job's lock: its own, unless the policy names a shared one."""
        return self.policy.lock_name or self.name
