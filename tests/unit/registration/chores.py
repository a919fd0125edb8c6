"""Things to put on a schedule."""

from __future__ import annotations


def prune(*args: object) -> object:
    return args


class Report:
    """Has a method that Celery calls."""

    def run(self, kind: str = "daily") -> str:
        return f"{kind} report"


class Nothing:
    """Has no method that could be called."""


class Callable_:
    def __call__(self) -> str:
        return "called"
