"""The campaign: faults one after another on a running cluster, then peace, then the evidence."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field

from tests.nemesis.aimed import Stage
from tests.nemesis.cluster import BEATS, LEASE, Cluster
from tests.nemesis.evidence import Evidence, read_executions

CALM = 4.0
PAUSE = LEASE + 0.7
HIT_WITHIN = 8.0

KILLED_AT = (Stage.CLAIMED, Stage.PUBLISHING, Stage.FLUSHING, Stage.PUBLISHED, Stage.CONFIRMED)
KILLS = KILLED_AT * 4
TWICE = 2
PAUSES = tuple(stage for stage in Stage if stage is not Stage.RESENT)
TERMS = 5


@dataclass(slots=True)
class Report:
    """What the faults did: hits by stage, seconds of each take-over, and what the paused leaders did afterwards."""

    kills: list[Stage] = field(default_factory=list)
    pauses: list[Stage] = field(default_factory=list)
    after_kill: list[float] = field(default_factory=list)
    after_pause: list[float] = field(default_factory=list)
    after_term: list[float] = field(default_factory=list)
    stood_by: list[str] = field(default_factory=list)
    copies_in_peace: int = 0
    copies: int = 0
    strays: list[str] = field(default_factory=list)
    took: float = 0.0


def run(cluster: Cluster) -> tuple[Report, Evidence]:
    """Run all faults on *cluster* and end it."""
    began = time.monotonic()
    report = Report()
    time.sleep(CALM)
    report.copies_in_peace = cluster.copies()
    try:
        _strike(cluster, report)
    except AssertionError as exc:
        # What came of the faults until then is worth more than the fault that did not happen.
        cluster.strays.append(f"the faults ended early: {exc}")
    until = cluster.drain()
    report.copies = cluster.copies()
    report.strays = cluster.strays
    report.took = time.monotonic() - began
    since = next(int(note["mark"] * 1000) for note in cluster.notes if note["event"] == "sight")
    return report, Evidence(
        since=since,
        until=until,
        records=cluster.ledger(),
        executions=read_executions(cluster.executions()),
        notes=cluster.notes,
    )


def _strike(cluster: Cluster, report: Report) -> None:
    for stage in KILLS:
        _kill(cluster, stage, report)
    for _ in range(TWICE):
        _kill_twice(cluster, report)
    for stage in PAUSES:
        _pause(cluster, stage, report)
    for _ in range(TERMS):
        _term(cluster, report)
    cluster.stand_by(BEATS)


def _hit(cluster: Cluster, stage: Stage, number: int) -> tuple[int, int, float]:
    """Aim at the leader and return its pid, its epoch, and when it was hit."""
    cluster.stand_by(2)
    asked = time.monotonic()
    cluster.aims.put(stage.name, number)
    note = cluster.wait_for_note("hit", after=asked, deadline=HIT_WITHIN, stage=stage.name)
    return note["pid"], note["epoch"], note["mono"]


def _kill(cluster: Cluster, stage: Stage, report: Report) -> None:
    pid, epoch, when = _hit(cluster, stage, signal.SIGKILL)
    report.kills.append(stage)
    cluster.restart(cluster.beats[pid], -signal.SIGKILL)
    successor = cluster.wait_for_note("published", after=when, epoch=epoch, deadline=LEASE + 10)
    report.after_kill.append(successor["mono"] - when)


def _kill_twice(cluster: Cluster, report: Report) -> None:
    """Kill a leader, and the next one while it sends again what the first has left."""
    cluster.stand_by(BEATS)
    cluster.aims.put(Stage.RESENT.name, signal.SIGKILL)
    first, _, when = _hit(cluster, Stage.CLAIMED, signal.SIGKILL)
    note = cluster.wait_for_note("hit", after=when, deadline=LEASE + HIT_WITHIN, stage=Stage.RESENT.name)
    successor = cluster.wait_for_note("published", after=note["mono"], epoch=note["epoch"], deadline=LEASE + 10)
    report.kills += [Stage.CLAIMED, Stage.RESENT]
    report.after_kill += [note["mono"] - when, successor["mono"] - note["mono"]]
    for pid in (first, note["pid"]):
        cluster.restart(cluster.beats[pid], -signal.SIGKILL)


def _pause(cluster: Cluster, stage: Stage, report: Report) -> None:
    pid, epoch, when = _hit(cluster, stage, signal.SIGSTOP)
    beat = cluster.beats[pid]
    report.pauses.append(stage)
    try:
        successor = cluster.wait_for_note("published", after=when, epoch=epoch, deadline=LEASE + 10)
        report.after_pause.append(successor["mono"] - when)
        time.sleep(max(0.0, when + PAUSE - time.monotonic()))
    finally:
        beat.cont()
    cluster.wait_for_note("resumed", after=when, deadline=5, stage=stage.name, pid=pid)
    deadline = time.monotonic() + 5
    standing = "it ticks no more"
    while time.monotonic() < deadline:
        mine = [lead for lead in cluster.leads() if lead.info.pid == pid]
        if not beat.alive:
            standing = f"it ended with {beat.popen.returncode}"
            break
        if mine:
            standing = "stands by" if not mine[0].epoch else "it leads"
            break
        time.sleep(0.02)
    report.stood_by.append(standing)


def _term(cluster: Cluster, report: Report) -> None:
    leader = cluster.stand_by(BEATS)[0]
    beat = cluster.beats[leader.info.pid]
    when = cluster.note("term", epoch=leader.epoch)
    beat.signal(signal.SIGTERM)
    successor = cluster.wait_for_note("published", after=when, epoch=leader.epoch, deadline=LEASE + 10)
    report.after_term.append(successor["mono"] - when)
    cluster.restart(beat, 0)
