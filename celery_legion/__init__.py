"""A scheduler for Celery that starts in place of beat: no overlapping runs, none lost, none doubled."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from celery_legion.errors import LegionError

__version__ = "0.1.0"

LAZY = {
    "Legion": "celery_legion.legion",
    "scheduled": "celery_legion.scheduled",
    "Scheduler": "celery_legion.beat",
    "current_run": "celery_legion.worker.current",
    "Cron": "celery_legion.triggers",
    "Interval": "celery_legion.triggers",
    "Once": "celery_legion.triggers",
    "Union": "celery_legion.triggers",
}
"""Public name → its module, loaded when the name is first used, so that importing the package costs next to nothing."""

__all__ = [
    "Cron",
    "Interval",
    "Legion",
    "LegionError",
    "Once",
    "Scheduler",
    "Union",
    "__version__",
    "current_run",
    "scheduled",
]


def __getattr__(name: str) -> Any:
    if name not in LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *LAZY})
