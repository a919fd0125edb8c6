"""A scheduler for Celery that starts in place of beat: no overlapping runs, none lost, none doubled."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from celery_legion.errors import LegionError

if TYPE_CHECKING:
    # What LAZY loads, for checkers of types and for editors.
    from celery_legion.beat import Scheduler
    from celery_legion.decorator import scheduled
    from celery_legion.legion import Legion
    from celery_legion.triggers import Cron, Interval, Once, Union
    from celery_legion.worker.current import current_run

__version__ = "0.1.0"

LAZY = {
    "Legion": "celery_legion.legion",
    "scheduled": "celery_legion.decorator",
    "Scheduler": "celery_legion.beat",
    "current_run": "celery_legion.worker.current",
    "Cron": "celery_legion.triggers",
    "Interval": "celery_legion.triggers",
    "Once": "celery_legion.triggers",
    "Union": "celery_legion.triggers",
}
"""Public name → its module, loaded when the name is first used, so that importing the package costs next to nothing.

No module may be called as one of them: once imported, it would stand in the package under the name.
"""

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


if not TYPE_CHECKING:
    # Hidden from checkers, to whom it would say that every name is there, misspelt ones too.
    def __getattr__(name: str) -> Any:
        if name not in LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(LAZY[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *LAZY})
