"""A beat or a worker that is started so that nobody schedules the jobs of ``Legion(app)``: found, and told how to.

Loaded with ``Legion(app)``. What stands in ``beat_schedule`` alone any beat sends, and nothing is said of it.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from celery import signals

from celery_legion.context import ATTRIBUTE, Context
from celery_legion.control import in_line

logger = logging.getLogger(__name__)

OURS = "celery_legion.Scheduler"
NAMED = 5
"""How many jobs are named; of the others only their number."""

SCHEDULER = re.compile(r"celery_legion|legion|[\w.]+[.:]\w*Scheduler")
"""What nobody calls a file, and people call schedulers: also those of other packages."""


def app_option(argv: Sequence[str], app: Any) -> str:
    """Return ``-A shop`` as the command line has it; without one, by the variable or the name of the app."""
    for index, word in enumerate(argv):
        if word in ("-A", "--app") and index + 1 < len(argv):
            return f"-A {shlex.quote(argv[index + 1])}"
        name = word.removeprefix("--app=") if word.startswith("--app=") else word.removeprefix("-A")
        if name != word and name:
            return f"-A {shlex.quote(name)}"
    return f"-A {shlex.quote(os.environ.get('APP') or app.main or 'yourapp')}"


def named(names: Sequence[str]) -> str:
    """Return names as a sentence holds them, the first few of many."""
    shown = ", ".join(map(in_line, names[:NAMED]))
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"


def beside(service: Any, argv: Sequence[str]) -> str | None:
    """Return what to say of a beat service that does not send the jobs of its app; None if it does."""
    context = getattr(service.app, ATTRIBUTE, None)
    scheduler = getattr(service, "__dict__", {}).get("scheduler")
    if not isinstance(context, Context) or not context.enabled or scheduler is None:
        return None
    # Only where a beat starts, which has loaded Celery's.
    from celery_legion.beat import Scheduler

    if isinstance(scheduler, Scheduler):
        return None
    jobs = sorted(name for name, job in context.registry.described().items() if job.enabled)
    if not jobs:
        return None
    app, kind = app_option(argv, service.app), type(scheduler)
    embedded, count = "worker" in argv, f"{len(jobs)} {'job' if len(jobs) == 1 else 'jobs'}"
    command = f"worker -B --scheduler {OURS}" if embedded else f"beat -S {OURS}"
    return (
        f"this beat runs {kind.__module__}.{kind.__qualname__}, which does not send the {count} of Legion(app): "
        f"{named(jobs)}; stop it, and start `celery {app} {command}`"
        f"{' (a -S of a worker is its state file)' if embedded else ''}, which sends beat_schedule, too"
    )


def mistaken_state(worker: Any, argv: Sequence[str]) -> str | None:
    """Return what to say of a worker whose state file is called like a scheduler; None of any other."""
    file = getattr(worker, "statedb", None)
    if not isinstance(file, str) or not SCHEDULER.fullmatch(file):
        return None
    app = app_option(argv, worker.app)
    name = OURS if "legion" in file else file
    return (
        f"a worker's -S is its state file, so this worker writes a file {in_line(file)!r} and takes no scheduler from "
        f"it: delete {in_line(file)}*, and start `celery {app} worker -B --scheduler {name}`, or a beat beside the "
        f"worker: `celery {app} beat -S {name}`"
    )


def watch() -> None:
    """Look at every beat and worker that starts in this process from now on; may be called again."""
    signals.beat_init.connect(_on_beat_init)
    signals.celeryd_after_setup.connect(_on_worker_start)


def _on_beat_init(sender: Any = None, **_: Any) -> None:
    _say(beside, sender)


def _on_worker_start(instance: Any = None, **_: Any) -> None:
    _say(mistaken_state, instance)


def _say(found: Any, started: Any) -> None:
    try:
        words = found(started, sys.argv)
    except Exception as exc:
        # Only a hint; whatever keeps it from being given is no reason not to start.
        logger.debug("how this was started could not be looked at: %r", exc)
        return
    if words is not None:
        logger.error("%s", words)
