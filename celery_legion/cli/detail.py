"""Details of a job beyond its row: what it does, where it is written, by which rules, and absolute times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from rich.text import Text

from celery_legion.cli import render
from celery_legion.cli.grid import Cell, Column, cell, wrap
from celery_legion.cli.row import Row
from celery_legion.config import Config
from celery_legion.hook import NAMES, Hooks, hook_name
from celery_legion.job import Between, Job, Overlap
from celery_legion.triggers.zones import get_zone

PLAIN = tuple(map(Column, ("Next at", "Last at", "Action", "Place", "Rules", "Error", "Description")))
LABEL = 13
MARGIN = 4
OPTIONS = {
    "time_limit": "time limit",
    "soft_time_limit": "soft time limit",
    "expires": "expires",
    "priority": "priority",
}


def at(moment: datetime | None, zone: str) -> str:
    """Return a moment in a zone to the second, with the zone."""
    if moment is None:
        return ""
    return f"{moment.astimezone(get_zone(zone)):%a %Y-%m-%d %H:%M:%S} {zone}"


def action_words(job: Job) -> str:
    """Return what a job does, with its arguments."""
    words = render.printable(job.action.readable)
    arguments = [render.value(arg) for arg in job.args]
    arguments += [f"{name}={render.value(value)}" for name, value in job.kwargs.items()]
    if job.action.command is not None:
        return f"$ {words}"
    return render.printable(f"{job.action.readable}({', '.join(arguments)})")


def own_rules(job: Job) -> list[str]:
    """Return the rules that a job does not take from the settings, in words."""
    policy, found = job.policy, []
    if policy.overlap is not Overlap.SKIP:
        found.append("may overlap")
    if policy.lock_name is not None:
        found.append(f"shares lock {render.printable(policy.lock_name)}")
    if policy.lock_ttl is not None:
        found.append(f"lock kept {render.span_words(policy.lock_ttl)} for a run that has not begun")
    if policy.catch_up is not None:
        found.append(f"catch-up {policy.catch_up.value}")
    if policy.catch_up_window is not None:
        found.append(f"catch-up window {render.span_words(policy.catch_up_window)}")
    if policy.send_deadline is not None:
        found.append(f"sent within {render.span_words(policy.send_deadline)} or not at all")
    if policy.start_deadline is not None:
        found.append(f"begins within {render.span_words(policy.start_deadline)} or not at all")
    found += map(_between_words, policy.between)
    found += [f"when {_name(condition)}" for condition in policy.when]
    found += [f"skip if {_name(condition)}" for condition in policy.skip]
    return found + limits(job)


def limits(job: Job) -> list[str]:
    """Return the limits on a job's time, and what else of its options people ask for."""
    command = job.action.command
    found = [f"timeout {render.span_words(command.timeout)}"] if command is not None and command.timeout else []
    return found + [f"{words} {_amount(job.options[name])}" for name, words in OPTIONS.items() if name in job.options]


def _amount(value: Any) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:g}"
    return render.span_words(value) if isinstance(value, timedelta) else render.printable(str(value))


def _between_words(window: Between) -> str:
    words = "between" if window.inside else "not between"
    return f"{words} {window.start:%H:%M} and {window.end:%H:%M} {window.timezone}"


def _name(condition: Any) -> str:
    return render.printable(hook_name(condition))


def hook_names(hooks: Hooks) -> dict[str, list[str]]:
    """Return the names of hooks by what they wait for."""
    return {name: [_name(hook) for hook in getattr(hooks, name)] for name in NAMES if getattr(hooks, name)}


def all_rules(job: Job, config: Config) -> list[str]:
    """Return every rule that a job is run by; one that a setting gives names the setting."""
    policy = job.policy
    overlap = f"overlap {policy.overlap.value}" + (" (legion_overlap)" if policy.overlap is config.overlap else "")
    own = [rule for rule in own_rules(job) if rule != "may overlap"]
    given = []
    if policy.catch_up is None:
        given.append(f"catch-up {config.catch_up.value} (legion_catch_up)")
    if policy.catch_up_window is None:
        given.append(f"catch-up window {render.span_words(config.catch_up_window)} (legion_catch_up_window)")
    if policy.lock_ttl is None and policy.overlap is not Overlap.ALLOW:
        given.append(f"lock kept {render.span_words(config.lock_ttl)} for a run that has not begun (legion_lock_ttl)")
    return [overlap, *own, *given]


def _pairs(row: Row, zone: str) -> Iterator[tuple[str, str]]:
    job, last = row.job, row.state.last
    yield "does", action_words(job)
    yield "written at", render.printable(job.place)
    yield "description", render.printable(job.description)
    yield "tags", render.printable(", ".join(job.tags))
    yield "queue", render.printable(job.queue or "")
    yield "rules", "; ".join(own_rules(job))
    yield "next at", at(row.expected, zone)
    yield "last at", at(row.last_run, zone)
    yield "last error", render.error_words(None if last is None else last.error)


def details(row: Row, zone: str, width: int) -> list[Text]:
    """Return the lines below a job's row, the last one empty."""
    return [*pair_lines(_pairs(row, zone), width, MARGIN), Text()]


def pair_lines(pairs: Iterable[tuple[str, str]], width: int, margin: int = 0, label: int = LABEL) -> list[Text]:
    """Return labels with what they say, in lines of at most *width*; what says nothing is left out."""
    lines: list[Text] = []
    for name, value in pairs:
        if not value:
            continue
        first, *rest = wrap(Text(" " * (margin + label) + value), width)
        head = Text(f"{' ' * margin}{name:<{label}}", style="dim")
        lines += [Text.assemble(head, first[margin + label :]), *rest]
    return lines


def plain_details(row: Row, zone: str) -> list[Cell]:
    """Return the cells of :data:`PLAIN`."""
    found: Mapping[str, str] = dict(_pairs(row, zone))
    return [
        cell(found[name]) for name in ("next at", "last at", "does", "written at", "rules", "last error", "description")
    ]
