"""What is known after a scenario: the ledger, the tasks' own notes, the schedulers', and what reached the broker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from celery_legion.run import Record
from tests.faults.workload import MIXED, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One execution as the task itself saw it: ``start`` and ``end`` in monotonic seconds, no end if it got to none.

    ``refused`` is one that the guarded resource has refused; it ends with the last write that was taken.
    """

    job: str
    run_id: str
    attempt: int
    fire: int
    pid: int
    start: float
    wall: float
    end: float | None
    token: int = 0
    refused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message as the broker got it: ``wall`` on the broker's clock, ``fire`` in ms, None if it does not say."""

    job: str
    run_id: str
    fire: int | None
    wall: float
    mono: float
    origin: int | None
    redelivered: bool = False
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The observed window is (``since``, ``until``], in ms since 1970; ``records`` are oldest first.

    ``outages`` are when fires could not be sent in time (ms), by what was done to the site, and ``harms`` when runs
    could not go on, since workers were killed, paused or cut off. ``hurt`` says that workers or the broker's memory
    were harmed, so that a run may end as lost; ``messages`` is None where nobody listened. With ``cut`` the window
    begins in the middle of the schedule: what is of before is not judged.
    """

    since: int
    until: int
    records: Mapping[str, Sequence[Record]]
    executions: Sequence[Execution]
    notes: Sequence[Mapping[str, Any]]
    jobs: Workload = MIXED
    messages: Sequence[Message] | None = None
    outages: Sequence[tuple[int, int]] = ()
    harms: Sequence[tuple[int, int]] = ()
    hurt: bool = False
    cut: bool = False
    deaths: Sequence[float] = ()
    strays: Sequence[str] = ()
    residue: Sequence[str] = ()
    recovery: float = 5.0
    paused: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)
    """When the scenario has paused jobs, by their names (ms)."""
    gaps: Sequence[tuple[float, float]] = field(default_factory=tuple)
    """When the tap heard nothing, in monotonic seconds."""


def read_executions(lines: Iterable[Mapping[str, Any]], deaths: Sequence[float] = ()) -> list[Execution]:
    """Pair the starts and ends of the tasks' notebook, in the order of the starts.

    One without an end was over at the first of *deaths* after its start.
    """
    starts = []
    ends: dict[tuple[Any, ...], list[tuple[float, bool, float]]] = {}
    for line in lines:
        key = (line["id"], line["token"], line["pid"])
        if line["event"] == "start":
            starts.append((key, line))
        else:
            refused = line["event"] == "refused"
            ends.setdefault(key, []).append((line["mono"], refused, line["written"] if refused else line["mono"]))
    executions = []
    for key, line in starts:
        later = sorted(end for end in ends.get(key, ()) if end[0] >= line["mono"])
        died = min((death for death in deaths if death >= line["mono"]), default=None)
        executions.append(
            Execution(
                job=line["job"],
                run_id=line["id"],
                attempt=line["attempt"],
                fire=line["fire"],
                pid=line["pid"],
                start=line["mono"],
                wall=line["wall"],
                end=later[0][2] if later else died,
                token=line["token"],
                refused=bool(later) and later[0][1],
            )
        )
    return sorted(executions, key=lambda one: one.start)
