"""Hooks: the user's callables around a run, by what they wait for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from celery_legion.run import State

TASK = "celery_legion.hooks"
"""The Celery task that runs hooks which no process runs right where a run ends. Its message names the debt."""

Hook = Callable[..., object]
"""A callable that takes the run (see ``current_run``) or nothing. What it returns is not looked at."""

FAILURES = frozenset({State.FAILED, State.INTERRUPTED, State.LOST, State.EXPIRED})
ENDS = FAILURES | {State.SUCCEEDED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """The hooks of a job, or of a whole schedule, in the order in which they were given.

    ``before`` is called before each attempt. When a run ends, ``on_success`` or ``on_failure`` is, then ``after``,
    once, however it ended. A fire that became no run has none of these, but ``on_skipped`` or ``on_missed``: an
    ``after`` that tidies up must not be called beside the run that made the fire be skipped.
    """

    before: tuple[Hook, ...] = ()
    on_success: tuple[Hook, ...] = ()
    on_failure: tuple[Hook, ...] = ()
    after: tuple[Hook, ...] = ()
    on_skipped: tuple[Hook, ...] = ()
    on_missed: tuple[Hook, ...] = ()

    def of(self, state: State) -> tuple[Hook, ...]:
        """Return what is called for an ending as *state*, in order."""
        if state is State.SKIPPED:
            return self.on_skipped
        if state is State.MISSED:
            return self.on_missed
        if state in ENDS:
            return (*(self.on_success if state is State.SUCCEEDED else self.on_failure), *self.after)
        return ()

    @property
    def owes(self) -> frozenset[State]:
        """The endings that something is called for."""
        return NOTHING if self == NO_HOOKS else frozenset(state for state in State if self.of(state))

    def plus(self, name: str, *hooks: Hook) -> Hooks:
        """Return these with *hooks* added under *name*."""
        return self + Hooks(**{name: hooks})

    def __add__(self, other: Hooks) -> Hooks:
        return Hooks(**{name: (*getattr(self, name), *getattr(other, name)) for name in NAMES})


NAMES = tuple(field.name for field in fields(Hooks))
NO_HOOKS = Hooks()
NOTHING: frozenset[State] = frozenset()


def call_hook(hook: Hook, run: Any) -> object:
    """Call *hook* with *run* if it takes an argument, without one if it takes none; return what it returns."""
    return hook(run) if _takes(hook, run) else hook()


def is_callable_so(hook: Hook) -> bool:
    """Return whether *hook* can be called with the run, or with nothing. A coroutine function would only be made."""
    return not inspect.iscoroutinefunction(hook) and (_takes(hook, None) or _takes(hook))


def _takes(hook: Hook, *args: Any) -> bool:
    try:
        # A Celery task's signature is that of its function.
        inspect.signature(getattr(hook, "run", hook) if hasattr(hook, "apply_async") else hook).bind(*args)
    except TypeError:
        return False
    except ValueError:
        # A builtin that does not say what it takes.
        return True
    return True


def hook_name(hook: Hook) -> str:
    """Return what a hook is called in logs and records."""
    try:
        name = getattr(hook, "__qualname__", None) or getattr(hook, "name", None)
        return name if isinstance(name, str) else str(hook) if "__str__" in vars(type(hook)) else type(hook).__name__
    except Exception:
        # A task that is no longer there, say.
        return "a hook"
