"""Reactions: the fluent words for what happens around a job's runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from celery_legion.frequency import Frequency
from celery_legion.hook import NO_HOOKS, Hook, Hooks, hook_name, is_callable_so
from celery_legion.ping import Ping, healthchecks, is_url


class Reaction(Frequency):
    """What is called before, after and for each ending of a job's runs.

    A hook takes the run, as ``current_run()`` returns it, or nothing. It is called once for each ending, in a worker;
    again only if its process dies while it is at it, with the same ``run.id``. One that fails is logged and recorded on
    the run, and changes nothing of how the run ended.
    """

    __slots__ = ("_hooks",)

    def __init__(self) -> None:
        super().__init__()
        self._hooks: Hooks = NO_HOOKS

    def before(self, *hooks: Hook) -> Self:
        """Call these before each attempt of a run."""
        return self._hook("before", hooks)

    def on_success(self, *hooks: Hook) -> Self:
        """Call these when a run has succeeded."""
        return self._hook("on_success", hooks)

    def on_failure(self, *hooks: Hook) -> Self:
        """Call these when a run has failed, was interrupted, got lost, or expired in its queue."""
        return self._hook("on_failure", hooks)

    def after(self, *hooks: Hook) -> Self:
        """Call these when a run has ended, however that was; ``run.state`` says how."""
        return self._hook("after", hooks)

    def on_skipped(self, *hooks: Hook) -> Self:
        """Call these when a fire was skipped; ``run.reason`` says why, ``run.count`` how many it were."""
        return self._hook("on_skipped", hooks)

    def on_missed(self, *hooks: Hook) -> Self:
        """Call these when a fire was missed; ``run.reason`` says why, ``run.count`` how many it were."""
        return self._hook("on_missed", hooks)

    def ping_before(self, url: str, if_: Callable[..., object] | bool = True) -> Self:
        """Request *url* before each attempt, if *if_* holds then."""
        return self._ping("before", url, if_)

    def then_ping(self, url: str, if_: Callable[..., object] | bool = True) -> Self:
        """Request *url* after each run, if *if_* holds then."""
        return self._ping("after", url, if_)

    def ping_on_success(self, url: str, if_: Callable[..., object] | bool = True) -> Self:
        """Request *url* after each run that has succeeded, if *if_* holds then."""
        return self._ping("on_success", url, if_)

    def ping_on_failure(self, url: str, if_: Callable[..., object] | bool = True) -> Self:
        """Request *url* after each run that has not, if *if_* holds then."""
        return self._ping("on_failure", url, if_)

    def healthchecks(self, url: str) -> Self:
        """Report start, success and failure of each run to a check of healthchecks.io (or one that works alike)."""
        self._check(url)
        for name, ping in healthchecks(url).items():
            self._hooks = self._hooks.plus(name, ping)
        return self

    def _hook(self, name: str, hooks: tuple[Any, ...]) -> Self:
        for hook in hooks:
            if not callable(hook):
                raise self._fault(f"{name} takes callables, not {hook!r}; give a function that takes the run")
            if not is_callable_so(hook):
                problem = (
                    f"{hook_name(hook)} cannot be called with the run alone; {name} takes functions of one argument"
                )
                raise self._fault(f"{problem}, the run, or of none")
        self._hooks = self._hooks.plus(name, *hooks)
        return self

    def _ping(self, name: str, url: str, if_: Any) -> Self:
        self._check(url)
        self._hooks = self._hooks.plus(name, Ping(url, if_))
        return self

    def _check(self, url: object) -> None:
        if not is_url(url):
            raise self._fault("a ping needs a URL that begins with http:// or https://")
