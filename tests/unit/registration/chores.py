"""Things to put on a schedule."""

from __future__ import annotations

import functools


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


def logged(function):
    """A decorator that keeps the name of what it wraps."""

    @functools.wraps(function)
    def wrapper(*args: object) -> tuple[str, object]:
        return "logged", function(*args)

    return wrapper


class Feed:
    """One of several objects of a kind."""

    def __init__(self, source: str) -> None:
        self.source = source

    def sync(self) -> str:
        return f"synced {self.source}"

    @classmethod
    def refresh(cls) -> str:
        return f"refreshed {cls.__name__}"


class News(Feed):
    """Inherits what it does."""
