"""The end of a scenario: the schedule is paused, every run and every process is ended, the evidence gathered."""

from __future__ import annotations

import signal
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from celery_legion.run import Kind, Record
from celery_legion.stores.base import Pause
from tests.faults.evidence import Evidence, Message, read_executions
from tests.faults.notebook import TASKS, Notebook
from tests.faults.oracle import LAG
from tests.faults.site import Site
from tests.faults.verdict import spread
from tests.faults.workload import Workload
from tests.servers.arrival import Arrival

WHOLE_LEDGER = 100_000
DRAIN_WITHIN = 40.0
EARLY_S = 0.05


def gather(site: Site, *, hurt: bool, noisy: bool, recovery: float) -> Evidence:
    """Drain *site*, end its processes, and return what is known of it."""
    paused = datetime.now(UTC)
    site.store.pause(Pause(name="*", since=paused, note="drained"))
    longest = max(job.work for job in site.setup.jobs) + 4 * site.setup.run_lease
    deadline = time.monotonic() + DRAIN_WITHIN + longest
    while (left := _open(site)) and time.monotonic() < deadline:
        time.sleep(0.3)
    site.rest()
    strays = [*site.strays, *_end(site, noisy)]
    site.look()
    deaths = sorted(site.deaths.values())
    until = int(paused.timestamp() * 1000) - LAG if site.until is None else site.until
    since = site.since
    if since is None:
        since = next((int(note["mark"] * 1000) for note in site.notes if note["event"] == "sight"), None)
    if since is None:
        since = until
        strays.append("no scheduler has ever seen the schedule")
    tap = site.tap
    records = _ledger(site)
    # What was pushed, and jobs of other versions, are the scenario's own to judge.
    pushed = {one.id for some in records.values() for one in some if one.kind is not Kind.SCHEDULED}
    executions = [
        one
        for one in read_executions(Notebook(site.folder / TASKS).read(), deaths)
        if one.run_id not in pushed and one.job in records
    ]
    messages = None if tap is None else [one for one in map(message_of, tap.rows) if one.run_id not in pushed]
    return Evidence(
        since=since,
        until=until,
        records={name: [one for one in some if one.kind is Kind.SCHEDULED] for name, some in records.items()},
        executions=executions,
        notes=site.notes,
        jobs=site.setup.jobs,
        messages=messages,
        gaps=() if tap is None else tuple(tap.gaps),
        outages=windows(site.timeline, recovery, workers=False),
        harms=windows(site.timeline, recovery, workers=True),
        paused=_paused(site.timeline),
        hurt=hurt,
        cut=site.since is not None,
        deaths=deaths,
        strays=strays,
        residue=left,
        recovery=recovery,
    )


def message_of(row: Arrival) -> Message:
    """Return what the tap heard as the oracle reads it; a peer's message says its job as its first argument."""
    header = row.headers.get("legion")
    if isinstance(header, dict):
        job, fire = str(header["job"]), int(header["fire"]) if header.get("kind") == "scheduled" else None
    else:
        job, fire = str(row.args[0]) if row.args else "", None
    return Message(
        job=job,
        run_id=row.id,
        fire=fire,
        wall=row.at.timestamp(),
        mono=row.monotonic,
        origin=row.pid,
        redelivered=row.redelivered,
        retries=int(row.headers.get("retries") or 0),
    )


def of_peer(site: Site) -> dict[str, Any]:
    """Return what became of the fires of a scheduler that keeps no ledger: each is told by its time alone."""
    assert site.tap is not None
    until = int(time.time() * 1000)
    site.rest()
    counts = told_by_time(site.tap.rows, site.setup.jobs, until)
    ended = [text[:200] for text in site.strays[:3]]
    counts["witnesses"]["ended"] = ended
    return {**counts, "ended_by_themselves": len(site.strays)}


def told_by_time(rows: Sequence[Arrival], jobs: Workload, until: int) -> dict[str, Any]:
    """Return what was lost and doubled of the fires of *jobs* that lie on the clock, up to *until* (ms).

    A message is of the last fire before it. The first period that the first message lies in is not judged, nor is a
    fire whose period is not over.
    """
    heard = [row for row in rows if not row.redelivered and row.args]
    times: dict[str, list[float]] = defaultdict(list)
    for row in heard:
        times[str(row.args[0] if row.args else "")].append(row.at.timestamp() * 1000)
    first = min((min(some) for some in times.values()), default=float(until))
    lost, doubled, slots, late = [], [], 0, []
    for job in jobs:
        grid = [fire for fire in job.fires(int(first), until) if fire + job.period <= until]
        counted: Counter[int] = Counter()
        for wall in times[job.name]:
            fire = int(wall + EARLY_S * 1000) // job.period * job.period
            counted[fire] += 1
            if fire > first:
                late.append((wall - fire) / 1000)
        slots += len(grid)
        lost += [f"{job.name} at {fire}" for fire in grid if not counted[fire]]
        doubled += [f"{job.name} at {fire}: {counted[fire]} messages" for fire in grid if counted[fire] > 1]
    return {
        "slots": slots,
        "messages": len(heard),
        "lost": len(lost),
        "doubled": len(doubled),
        "lateness_s": spread(late),
        "witnesses": {"lost": lost[:5], "doubled": doubled[:5]},
    }


def _open(site: Site) -> list[str]:
    """Return the locks that are held, the runs that have not ended, and what is claimed and unsent."""
    locks = [f"lock {lock.name} is held: {lock.holders}" for lock in site.store.locks()]
    records = [record for job in site.setup.jobs for record in site.store.runs(job.name, 200)]
    return locks + [f"never ended: {record}" for record in records if not record.state.terminal]


def _end(site: Site, noisy: bool) -> list[str]:
    strays = []
    for beat in site.beats:
        code = beat.process.terminate()
        # One that has just been started again knows nothing of signals yet, and has said nothing.
        is_new = code == -signal.SIGTERM and not beat.process.output.strip()
        if code != 0 and not beat.held and not is_new:
            strays.append(f"beat {beat.pid} ended with {code} on SIGTERM:\n{beat.process.output[-1500:]}")
    for worker in site.workers:
        if not worker.process.alive and not worker.held:
            strays.append(f"worker {worker.pid} has ended:\n{worker.process.output[-1500:]}")
    for worker in site.workers:
        worker.process.terminate()
    for process in site.processes.started:
        # Celery's own worker shows its trace-back when a connection breaks; no beat has a reason to.
        suspect = "-beat" in process.log.name or not noisy
        if suspect and "Traceback (most recent call last)" in process.output:
            where = process.output.index("Traceback (most recent call last)")
            strays.append(f"{process.log.name} has a traceback:\n{process.output[where - 300 : where + 2500]}")
    return strays


def _ledger(site: Site) -> dict[str, list[Record]]:
    """Return every job's whole ledger, oldest first."""
    if site.books is not None:
        site.books.read()
        return dict(site.books.ledger())
    return {job.name: site.store.runs(job.name, WHOLE_LEDGER)[::-1] for job in site.setup.jobs}


def windows(timeline: Sequence[Mapping[str, Any]], recovery: float, *, workers: bool) -> list[tuple[int, int]]:
    """Return when the site suffered from faults of *workers* alone, or of the others, and had time to recover (ms).

    Faults under an epoch are left out: of those the schedulers' notes know more.
    """
    return [
        (int(line["wall"] * 1000) - LAG, int((line.get("until", line["wall"]) + recovery) * 1000))
        for line in timeline
        if "epoch" not in line and "job" not in line and _is_of_workers(line) == workers
    ]


def _paused(timeline: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[int, int]]]:
    """Return when jobs were paused, and a pass may have known no better yet (ms)."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for line in timeline:
        if "job" in line:
            found[line["job"]].append((int(line["wall"] * 1000) - LAG, int(line["until"] * 1000) + LAG))
    return found


def _is_of_workers(line: Mapping[str, Any]) -> bool:
    return line.get("role") == "worker" or line.get("who") == ["worker"] or line["fault"] == "no workers"
