"""What is known after a campaign: the store's ledger, the tasks' own notes, and the schedulers'."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celery_legion.run import Record
from tests.nemesis.workload import JOBS, Planned


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One execution as the task itself saw it: ``start`` and ``end`` in monotonic seconds, no end if it got to none."""

    job: str
    run_id: str
    attempt: int
    fire: int
    pid: int
    start: float
    wall: float
    end: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The observed window is (``since``, ``until``], in ms since 1970; ``records`` are oldest first."""

    since: int
    until: int
    records: Mapping[str, Sequence[Record]]
    executions: Sequence[Execution]
    notes: Sequence[Mapping[str, Any]]
    jobs: Sequence[Planned] = JOBS


def read_executions(lines: Iterable[Mapping[str, Any]]) -> list[Execution]:
    """Pair the starts and ends of the tasks' notebook, in the order of the starts."""
    starts = []
    ends: dict[tuple[Any, ...], list[float]] = {}
    for line in lines:
        key = (line["id"], line["token"], line["pid"])
        if line["event"] == "start":
            starts.append((key, line))
        else:
            ends.setdefault(key, []).append(line["mono"])
    executions = []
    for key, line in starts:
        later = [end for end in ends.get(key, ()) if end >= line["mono"]]
        executions.append(
            Execution(
                job=line["job"],
                run_id=line["id"],
                attempt=line["attempt"],
                fire=line["fire"],
                pid=line["pid"],
                start=line["mono"],
                wall=line["wall"],
                end=min(later) if later else None,
            )
        )
    return sorted(executions, key=lambda one: one.start)
