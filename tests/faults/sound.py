"""What sound evidence is built from, what spoils it, and what the oracle then finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from celery_legion.run import Kind, Record, State
from tests.faults import oracle
from tests.faults.evidence import Evidence, Execution
from tests.faults.workload import Grid, Planned

START = 1_700_000_000_000
"""The wall clock's milliseconds at which all this evidence begins."""

JOBS = (Planned("tick", Grid.CLOCK, 1000, 0.1), Planned("each", Grid.PHASE, 1000, 0.1, 250, each=True))


def moment(ms: float) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def a_run(job: str, fire: int, state: State = State.SUCCEEDED) -> Record:
    return Record(
        id=f"{job}-{fire}",
        job=job,
        kind=Kind.SCHEDULED,
        fire_time=moment(fire),
        last_fire_time=moment(fire),
        state=state,
        claimed_at=moment(fire + 5),
        sent_at=moment(fire + 20),
    )


def a_lapse(job: str, first: int, last: int, count: int, state: State, reason: str) -> Record:
    return Record(
        id=None,
        job=job,
        kind=Kind.SCHEDULED,
        fire_time=moment(first),
        last_fire_time=moment(last),
        state=state,
        reason=reason,
        count=count,
    )


def an_execution(record: Record, seconds: float = 0.1) -> Execution:
    fire = oracle.ms(record.fire_time)
    start = fire / 1000 + 0.01
    return Execution(
        job=record.job,
        run_id=str(record.id),
        attempt=1,
        fire=fire,
        pid=1,
        start=start,
        wall=start,
        end=start + seconds,
        token=fire - START,
    )


def a_claim(epoch: int, at: float) -> dict[str, object]:
    return {"event": "claim", "epoch": epoch, "runs": ["x"], "pid": epoch, "wall": at, "mono": at}


QUESTIONS = (
    oracle.lost,
    oracle.doubled,
    oracle.miscounted,
    oracle.unrun,
    oracle.unexcused,
    oracle.repeated,
    oracle.unexecuted,
    oracle.unaccounted,
    oracle.overlapping,
    oracle.stale,
    oracle.unfenced,
)


def with_records(evidence: Evidence, job: str, change: Callable[[list[Record]], list[Record]]) -> Evidence:
    return replace(evidence, records={**evidence.records, job: change(list(evidence.records[job]))})


def asked(evidence: Evidence) -> dict[str, int]:
    return {ask.__name__: len(found) for ask in QUESTIONS if (found := ask(evidence))}
