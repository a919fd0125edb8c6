"""The oracle of messages and of the site: what must hold, each as a function that returns witnesses of the opposite."""

from __future__ import annotations

from collections import defaultdict
from statistics import median

from celery_legion.run import State
from tests.faults.evidence import Evidence, Message
from tests.faults.oracle import EARLY, brief, clock, fires_of, harms_of, meets, ms

COPIES = 8
"""Most messages of one run: each fault may cause one, and no run sees more faults than that."""

DEAF = 2.0
"""Seconds before the tap's connection broke in which it may have missed what the broker had taken."""

NEVER_SENT = frozenset({State.SKIPPED, State.MISSED, State.EXPIRED})


def unsent(evidence: Evidence) -> list[str]:
    """Runs that the ledger calls sent although the broker has never got their message.

    Not of those sent while the tap heard nothing, or just before that.
    """
    if evidence.messages is None:
        return []
    seen = {message.run_id for message in evidence.messages} | {one.run_id for one in evidence.executions}
    shift = clocks_apart(evidence)
    deaf = [((began + shift - DEAF) * 1000, (ended + shift) * 1000) for began, ended in evidence.gaps]
    return [
        f"{brief(record)}: its message never reached the broker"
        for records in evidence.records.values()
        for record in records
        if record.id is not None
        and record.state not in NEVER_SENT
        and record.id not in seen
        and not (evidence.cut and ms(record.fire_time) <= evidence.since)
        and not meets(deaf, ms(record.claimed_at or record.fire_time), ms(record.sent_at or record.fire_time))
    ]


def clocks_apart(evidence: Evidence) -> float:
    """Return the seconds by which the wall clock is ahead of the monotonic one, by whoever read both at a time."""
    pairs = [(one.wall, one.start) for one in evidence.executions]
    pairs += [(note["wall"], note["mono"]) for note in evidence.notes]
    return median(wall - mono for wall, mono in pairs) if pairs else 0.0


def doubly_sent(evidence: Evidence) -> list[str]:
    """Fires for which messages of more than one run reached the broker."""
    ids: dict[tuple[str, int], set[str]] = defaultdict(set)
    for message in evidence.messages or ():
        if message.fire is not None:
            ids[message.job, message.fire].add(message.run_id)
    return [f"{job} at {clock(fire)}: runs {sorted(runs)}" for (job, fire), runs in ids.items() if len(runs) > 1]


def storming(evidence: Evidence) -> list[str]:
    """Runs of which more messages were sent than faults can explain; a task's own retries are none of them."""
    harmed = harms_of(evidence) or any(note["event"] == "hit" for note in evidence.notes)
    most = COPIES if harmed else 1
    times: dict[tuple[str, str], list[Message]] = defaultdict(list)
    for message in evidence.messages or ():
        if not message.redelivered and not message.retries:
            times[message.job, message.run_id].append(message)
    return [f"{job} run {run}: {len(some)} messages" for (job, run), some in times.items() if len(some) > most]


def phantom(evidence: Evidence) -> list[str]:
    """Messages for fires that the model does not have, or sent before their time."""
    jobs = {job.name: job for job in evidence.jobs}
    grids = {name: set(fires_of(evidence, job, evidence.until + 60_000)) for name, job in jobs.items()}
    found = []
    for message in evidence.messages or ():
        if message.fire is None or message.job not in jobs or (evidence.cut and message.fire <= evidence.since):
            continue
        if message.fire not in grids[message.job]:
            found.append(f"{message.job} at {clock(message.fire)}: the model has no such fire")
        elif message.wall * 1000 < message.fire - EARLY:
            early = message.fire - message.wall * 1000
            found.append(f"{message.job} at {clock(message.fire)}: sent {early:.0f} ms early")
    return found


def silent(evidence: Evidence) -> list[str]:
    """Jobs of which nothing was accounted for after the last fault, and processes that ended by themselves."""
    found = list(evidence.strays)
    healed = max((end for _, end in harms_of(evidence)), default=evidence.since)
    for job in evidence.jobs:
        last = max((ms(record.last_fire_time) for record in evidence.records[job.name]), default=0)
        due = [fire for fire in fires_of(evidence, job, evidence.until) if healed < fire < evidence.until - 1000]
        if due and last < due[0]:
            found.append(f"{job.name}: nothing since {clock(last)}, though all was well from {clock(healed)} on")
    return found


def residue(evidence: Evidence) -> list[str]:
    """What is left over at the end: locks, open runs, keys."""
    return list(evidence.residue)
