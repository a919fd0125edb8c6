"""``@scheduled``: a decorator that puts what it stands on on the schedule, before or after an app exists."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from celery import shared_task

from celery_legion.builder import Builder
from celery_legion.errors import LegionError, did_you_mean
from celery_legion.frequency import Frequency
from celery_legion.hook import NAMES as HOOKS
from celery_legion.job import NOTHING, Overlap
from celery_legion.registry import decorate
from celery_legion.target import Target, current_app, is_task, is_unbound_method, place_of_caller, qualified_name

T = TypeVar("T")

PINGS = ("ping_before", "then_ping", "ping_on_success", "ping_on_failure", "healthchecks")
SEVERAL = ("tags", "between", "unless_between", "days", "at", "when", "skip", *HOOKS)
SINGLE = (
    "timezone",
    "queue",
    "description",
    "lock_name",
    "start_deadline",
    "enabled",
    "capture_output",
    *PINGS,
)
CATCH_UP = {"catch_up": "mode", "catch_up_window": "window", "catch_up_limit": "limit"}
KEYWORDS = ("name", "options", "args", "kwargs", "overlap", "lock_ttl", *CATCH_UP, *SEVERAL, *SINGLE)

WORDS = frozenset(name for name in dir(Frequency) if not name.startswith("_"))


class Scheduled:
    """The decorator. Every frequency of the builder is an attribute: ``@scheduled.daily_at("02:00", tags=["night"])``.

    It stands on functions (which become Celery tasks), on Celery tasks, on classes with ``__call__``, ``run`` or
    ``handle`` and on methods (an instance is made for each run), and may be repeated with other names. Keywords
    that are no argument of the frequency are words of the builder: ``name``, ``timezone``, ``tags``, ``queue``,
    ``description``, ``options``, ``args``, ``kwargs``, ``overlap`` (``"skip"``, ``"allow"``), ``lock_ttl``,
    ``lock_name``, ``catch_up``, ``catch_up_window``, ``catch_up_limit``, ``start_deadline``, ``when``, ``skip``,
    ``between``, ``unless_between``, ``days``, ``at``, ``enabled``, ``capture_output``, the hooks ``before``,
    ``on_success``, ``on_failure``, ``after``, ``on_skipped``, ``on_missed``, and the pings.
    """

    def __call__(self, when: Any = None, /, **keywords: Any) -> Callable[[T], T]:
        """Schedule by a cron expression, a timedelta, a trigger, or one of Celery's schedules."""
        if when is None:
            return _mistaken
        if _is_target(when):
            # The decorator without its parentheses.
            mistaken: Callable[[T], T] = _mistaken(when)
            return mistaken
        if isinstance(when, str):
            return self._decorator("cron", (when,), keywords)
        if isinstance(when, (timedelta, int, float)):
            return self._decorator("every", (when,), keywords)
        return self._decorator("trigger", (when,), keywords)

    def __getattr__(self, word: str) -> Callable[..., Callable[[T], T]]:
        if word not in WORDS:
            raise AttributeError(f"no frequency is called {word!r}")

        def frequency(*args: Any, **keywords: Any) -> Callable[[T], T]:
            return self._decorator(word, args, keywords)

        return frequency

    def _decorator(self, word: str, args: tuple[Any, ...], keywords: dict[str, Any]) -> Callable[[T], T]:
        place = place_of_caller()
        own = inspect.signature(getattr(Frequency, word)).parameters
        arguments = {name: keywords.pop(name) for name in list(keywords) if name in own}

        def put_on_schedule(given: T) -> T:
            said = dict(keywords)
            name, home = said.pop("name", None), current_app()
            decorated: T = _as_task(given, name)
            given_args, given_kwargs = tuple(said.pop("args", ())), dict(said.pop("kwargs", NOTHING))
            builder = Builder(Target(decorated, place, given_args, given_kwargs, home))
            if name is not None:
                builder.name(name)
            getattr(builder, word)(*args, **arguments)
            try:
                catch_up = {CATCH_UP[key]: said.pop(key) for key in CATCH_UP if key in said}
                if catch_up:
                    builder.catch_up(**{"mode": None, **catch_up})
                for key, value in said.items():
                    _say(builder, key, value)
            except (LegionError, TypeError, ValueError) as exc:
                builder.fail(exc if isinstance(exc, LegionError) else builder.fault(exc))
            decorate(builder)
            return decorated

        return put_on_schedule


def _is_target(when: Any) -> bool:
    return is_task(when) or inspect.isroutine(when) or inspect.isclass(when)


def _mistaken(given: T) -> T:
    """Put an error on the schedule, to be raised when that is read, and return *given* as it is."""
    builder = Builder(Target(given, place_of_caller()))
    builder.fail(builder.fault("@scheduled does not say when; write @scheduled('*/5 * * * *') or @scheduled.hourly()"))
    decorate(builder)
    return given


def _as_task(given: Any, name: str | None) -> Any:
    """Return what is scheduled: a plain function as a Celery task, all else as it is."""
    if is_task(given) or not inspect.isfunction(given) or is_unbound_method(given):
        return given
    if inspect.iscoroutinefunction(given):
        # Refused when the schedule is read.
        return given
    if qualified_name(given) is None:
        # A nested function: the job's name is the only stable one, and without it the schedule refuses the job.
        return given if name is None else shared_task(name=name)(given)
    return shared_task(given)


def _say(builder: Builder, key: str, value: Any) -> None:
    if key == "overlap":
        if Overlap(value) is Overlap.ALLOW:
            builder.allow_overlapping()
        else:
            builder.without_overlapping()
    elif key == "lock_ttl":
        builder.without_overlapping(ttl=value)
    elif key == "options" and isinstance(value, Mapping):
        builder.options(**value)
    elif key in SEVERAL:
        values = value if isinstance(value, (list, tuple, set)) else (value,)
        getattr(builder, key)(*values)
    elif key in SINGLE:
        getattr(builder, key)(value)
    else:
        raise builder.fault(f"{key!r} is no keyword of @scheduled{did_you_mean(key, KEYWORDS)}")


scheduled = Scheduled()
