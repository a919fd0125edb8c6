"""The fluent builder: what a job is, in words that may come in any order."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from celery_legion.config import Config
from celery_legion.duration import Duration, parse_duration
from celery_legion.errors import InvalidJobError, LegionError, did_you_mean
from celery_legion.interop import to_trigger
from celery_legion.job import NOTHING, Action, CatchUp, Condition, Job, Overlap, Policy
from celery_legion.reaction import Reaction
from celery_legion.target import qualified_name
from celery_legion.triggers import Trigger

B = TypeVar("B", bound="Builder")

NO_WORDS = ("belongs_to", "build", "fail", "fault", "register_task")
"""What a builder has for others than the one who describes a job."""


class Subject(Protocol):
    """What a job is about: a task, a callable, or a command, as it was written down at ``place``."""

    place: str
    given: Any

    @property
    def options(self) -> Mapping[str, Any]:
        """What it brings along for ``apply_async``."""
        ...

    def belongs_to(self, app: Any) -> bool:
        """Return whether it is on *app*'s schedule."""
        ...

    def arguments(self) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Return what the task is called with."""
        ...

    def action(self, app: Any, job_name: str | None) -> Action:
        """Return the action, with its task made known to *app*."""
        ...


class Builder(Reaction):
    """A job in the making. It becomes final when the schedule is read; until then every word may be added.

    A word that makes no sense is kept as the job's error and raised when the schedule is read, by beat, a worker
    or a command: a wrong schedule never keeps a web process from importing its modules. ``place`` is where the job
    was written, and stands in every error.
    """

    __slots__ = (
        "_description",
        "_enabled",
        "_error",
        "_kwargs",
        "_name",
        "_options",
        "_overlap",
        "_policy",
        "_queue",
        "_tags",
        "place",
        "target",
    )

    def __init__(self, target: Subject) -> None:
        super().__init__()
        self.target: Any = target
        self.place = target.place
        self._name: str | None = None
        self._description = ""
        self._tags: tuple[str, ...] = ()
        self._queue: str | None = None
        self._options: dict[str, Any] = {}
        self._enabled = True
        self._error: LegionError | None = None
        self._overlap: Overlap | None = None
        self._policy = Policy()

    if not TYPE_CHECKING:
        # Hidden from checkers of types, which then find a misspelt word themselves.
        def __getattr__(self, word: str) -> Any:
            if word.startswith("_"):
                raise AttributeError(word)
            known = [name for name in dir(self) if not name.startswith("_") and name not in NO_WORDS]
            problem = f"no word is called {word!r}{did_you_mean(word, known)}"
            return lambda *args, **kwargs: self.fail(self.fault(problem))

    def name(self, name: str) -> Self:
        """Name the job. Its history and lock go by this; without it, by the qualified name of what it calls."""
        if not isinstance(name, str) or not name or not name.isprintable():
            raise self._fault(f"{name!r} is no name; use printable text")
        if name == "*":
            raise self._fault("'*' means all jobs to `pause` and `resume`; give the job another name")
        self._name = name
        return self

    def description(self, text: str) -> Self:
        """Say for people what the job is for."""
        self._description = text
        return self

    def tags(self, *tags: str) -> Self:
        """Add tags, by which commands pick jobs."""
        self._tags = tuple(dict.fromkeys((*self._tags, *tags)))
        return self

    def queue(self, name: str) -> Self:
        """Send the job's messages to this queue."""
        self._queue = name
        return self

    def options(self, **options: Any) -> Self:
        """Pass these to ``apply_async`` untouched: ``expires``, ``priority``, ``headers``, ``time_limit`` …"""
        self._options.update(options)
        return self

    def enabled(self, enabled: bool = True) -> Self:
        """Keep the job on the schedule, or (False) keep it off it and in the lists."""
        self._enabled = enabled
        return self

    def allow_overlapping(self) -> Self:
        """Let a run begin while an earlier one goes on."""
        self._overlap = Overlap.ALLOW
        return self

    def without_overlapping(self, ttl: Duration | None = None) -> Self:
        """Skip a fire while an earlier run is not over; this is the default.

        *ttl* is how long a run that still waits in its queue keeps others away; once it has begun, its worker's
        lease does.
        """
        self._overlap = Overlap.SKIP
        return self if ttl is None else self._set(lock_ttl=self._span(ttl))

    def lock_name(self, name: str) -> Self:
        """Share a lock with all jobs that name the same: none of them runs beside another."""
        return self._set(lock_name=name)

    def catch_up(self, mode: CatchUp | str | None, *, window: Duration | None = None, limit: int | None = None) -> Self:
        """Say which fires run that fell due while nobody scheduled: ``skip``, ``once`` (the latest) or ``all``.

        None leaves that to ``legion_catch_up``. Only fires within *window*, and of ``all`` only the newest *limit*,
        are run; the rest is recorded as missed.
        """
        try:
            self._set(catch_up=None if mode is None else CatchUp(mode))
        except ValueError:
            raise self._fault(f"catch_up={mode!r} is unknown; use one of {', '.join(CatchUp)}") from None
        if window is not None:
            self._set(catch_up_window=self._span(window))
        if limit is None:
            return self
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise self._fault(f"catch_up limit {limit!r} is no positive whole number; write one such as 10")
        return self._set(catch_up_limit=limit)

    def start_deadline(self, span: Duration) -> Self:
        """Let no run begin later than *span* after its fire."""
        return self._set(start_deadline=self._span(span))

    def when(self, *conditions: Condition | bool) -> Self:
        """Run only while all of these hold; they are asked by the scheduler at each fire."""
        return self._set(when=(*self._policy.when, *map(_condition, conditions)))

    def skip(self, *conditions: Condition | bool) -> Self:
        """Skip a fire when one of these holds; text that one returns is the recorded reason."""
        return self._set(skip=(*self._policy.skip, *map(_condition, conditions)))

    def capture_output(self, capture: bool = True) -> Self:
        """Keep the tail of what the job's task prints and logs on its runs; a command's is always kept."""
        return self._set(capture_output=bool(capture))

    def _set(self, **fields: Any) -> Self:
        self._policy = replace(self._policy, **fields)
        return self

    def _span(self, value: Duration) -> timedelta:
        span = self._checked(parse_duration, value)
        if span <= timedelta(0):
            raise self._fault(f"{value!r} is no positive duration; write one such as '90s'")
        return span

    def fault(self, problem: object) -> LegionError:
        """Return the error that says *problem* of this job, with the place it was written at."""
        return InvalidJobError(self._name or self._known_as(), f"{problem} ({self.place})")

    def _fault(self, problem: object) -> LegionError:
        return self.fault(problem)

    def _known_as(self) -> str:
        given = self.target.given
        if isinstance(given, str):
            return given
        name = qualified_name(given)
        return ".".join(name) if name else "?"

    def fail(self, error: LegionError) -> Self:
        """Keep *error* as what is wrong with the job, unless something was wrong before."""
        if self._error is None:
            self._error = error
        return self

    def register_task(self, app: Any) -> None:
        """Make the task that the job sends known to *app*, for a worker to find.

        Raises:
            LegionError: It has no stable name, cannot be called, or was told something that makes no sense.
        """
        if self._error is not None:
            raise self._error
        self.target.action(app, self._name)

    def belongs_to(self, app: Any) -> bool:
        """Return whether the job is on *app*'s schedule."""
        return bool(self.target.belongs_to(app))

    def build(self, app: Any, config: Config) -> Job:
        """Return the job as it stands now.

        Raises:
            LegionError: What was said does not make a job; the error names it and where it was written.
        """
        if self._error is not None:
            raise self._error
        action = self.target.action(app, self._name)
        args, kwargs = self.target.arguments()
        try:
            trigger = self._timing.trigger(config.timezone, lambda given: _translate(given, app))
        except (LegionError, TypeError, ValueError) as exc:
            raise InvalidJobError(self._name or action.task, f"{exc} ({self.place})") from exc
        options: Mapping[str, Any] = {**self.target.options, **self._options}
        return Job(
            name=self._name or action.task,
            action=action,
            trigger=trigger,
            args=args,
            kwargs=kwargs,
            options=options or NOTHING,
            queue=self._queue,
            tags=self._tags,
            description=self._description,
            enabled=self._enabled,
            policy=replace(
                self._policy,
                overlap=self._overlap or config.overlap,
                between=self._timing.between(config.timezone),
                hooks=self._hooks,
            ),
            place=self.place,
        )


OF_THEIR_OWN = frozenset({"name", "timezone", "tags", "queue", "description", "when", "skip", "between", "days"})
"""Words that the decorator takes as arguments."""


def forgiving(cls: type[B]) -> type[B]:
    """Make the words of a builder keep their error instead of raising it."""
    for name, word in list(vars(cls).items()) if cls.__base__ is Builder else _words(cls):
        if not name.startswith("_") and callable(word) and name not in NO_WORDS:
            setattr(cls, name, _forgiving(word))
    return cls


def _words(cls: type) -> list[tuple[str, Any]]:
    return [(name, getattr(cls, name)) for name in dir(cls)]


def _forgiving(word: Callable[..., Builder]) -> Callable[..., Builder]:
    signature = inspect.signature(word)

    @wraps(word)
    def say(self: Builder, *args: Any, **kwargs: Any) -> Builder:
        try:
            signature.bind(self, *args, **kwargs)
        except TypeError as exc:
            own = [name for name in kwargs if name not in signature.parameters and name in OF_THEIR_OWN]
            hint = f"; write .{own[0]}({kwargs[own[0]]!r}), a word of its own" if own else ""
            return self.fail(self.fault(f"{word.__name__}: {exc}{hint}"))
        try:
            return word(self, *args, **kwargs)
        except LegionError as exc:
            return self.fail(exc)
        except Exception as exc:
            # An object of the user's may raise anything where it is merely looked at.
            return self.fail(self.fault(f"{word.__name__}: {type(exc).__name__}: {exc}"))

    return say


forgiving(Builder)


def _translate(given: Any, app: Any) -> Trigger:
    return to_trigger(given, app)[0]


def _condition(condition: Condition | bool) -> Condition:
    return condition if callable(condition) else lambda: condition
