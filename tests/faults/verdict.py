"""The verdict: the invariants by name, and one JSON row a scenario."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import median, quantiles
from typing import Any

from celery_legion.run import State
from tests.faults import oracle, wire
from tests.faults.evidence import Evidence

Ask = Callable[[Evidence], list[str]]

INVARIANTS: Mapping[str, tuple[Ask, ...]] = {
    "lost": (oracle.lost, oracle.unrun, oracle.unexcused, oracle.unexecuted, oracle.unaccounted, wire.unsent),
    "doubled": (oracle.doubled, oracle.miscounted, wire.doubly_sent),
    "executed_twice": (oracle.repeated,),
    "overlap": (oracle.overlapping,),
    "stale_epoch": (oracle.stale, oracle.unfenced),
    "storm": (wire.storming,),
    "phantom": (wire.phantom,),
    "liveness": (wire.silent,),
    "residue": (wire.residue,),
}
"""The nine invariants, each asked by functions that return witnesses of its breach."""

SHOWN = 6


def judge(evidence: Evidence) -> dict[str, list[str]]:
    """Return the witnesses of each invariant's breach."""
    return {name: [witness for ask in asks for witness in ask(evidence)] for name, asks in INVARIANTS.items()}


def shown(verdicts: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the first witnesses of those that are broken."""
    return {name: [text[:1500] for text in found[:SHOWN]] for name, found in verdicts.items() if found}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return count, median, p95, p99 and maximum, in the unit of *values*."""
    if not values:
        return {"n": 0}
    cuts = quantiles(values, n=100, method="inclusive") if len(values) > 1 else [values[0]] * 99
    found = {"p50": median(values), "p95": cuts[94], "p99": cuts[98], "max": max(values)}
    return {"n": len(values), **{name: round(value, 3) for name, value in found.items()}}


def numbers(evidence: Evidence) -> dict[str, Any]:
    """Return what a row says of the evidence besides the verdicts."""
    records = [record for some in evidence.records.values() for record in some]
    outcomes = Counter(
        f"{record.state.value}({record.reason})" if record.reason else record.state.value
        for record in records
        for _ in range(record.count)
    )
    first: dict[str, float] = {}
    fires: dict[str, int] = {}
    copies = 0
    for message in evidence.messages or ():
        if message.fire is None or message.redelivered or message.retries:
            continue
        copies += message.run_id in first
        first.setdefault(message.run_id, message.wall)
        fires.setdefault(message.run_id, message.fire)
    late = [wall - fires[run] / 1000 for run, wall in first.items() if fires[run] > evidence.since]
    return {
        "observed_s": round((evidence.until - evidence.since) / 1000, 1),
        "slots": sum(sum(1 for _ in oracle.fires_of(evidence, job, evidence.until)) for job in evidence.jobs),
        "outcomes": dict(sorted(outcomes.items())),
        "runs": sum(record.id is not None and record.state not in {State.SKIPPED, State.MISSED} for record in records),
        "messages": len(first) + copies,
        "copies": copies,
        "executions": len(evidence.executions),
        "lateness_s": spread(late),
    }
