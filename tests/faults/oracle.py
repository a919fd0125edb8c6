"""The oracle of ledger and executions: what must hold, each as a function that returns witnesses of the opposite."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime

from celery_legion.run import Kind, Record, State
from tests.faults.evidence import Evidence, Execution
from tests.faults.workload import Grid, Planned

LAG = 500
"""Milliseconds by which a pass on a busy machine, or the recording of an end, may be late without a fault."""

EARLY = 20
"""Milliseconds before its fire that a run may seem to start, for clocks read at different moments."""

UNLED = frozenset({"catch_up", "broker"})
"""Reasons for which a fire may become no run while leaders, or their servers, are harmed."""

UNWORKED = frozenset({"no_worker", "overlap", "queue"})
"""Reasons for which a fire may become no run while workers are harmed, or leaders are."""

UNHAPPY = frozenset({State.LOST, State.EXPIRED, State.INTERRUPTED, State.FAILED})

UNRUN = frozenset({State.SKIPPED, State.MISSED})


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def lost(evidence: Evidence) -> list[str]:
    """Expected fires that are in no record of the ledger."""
    return [
        f"{job.name} at {clock(fire)}: in no record"
        for job in evidence.jobs
        for fire, records in _accounted(evidence, job).items()
        if not records
    ]


def doubled(evidence: Evidence) -> list[str]:
    """Fires in more than one record, and fires with more than one run."""
    found = [
        f"{job.name} at {clock(fire)}: in {len(records)} records: {'; '.join(map(brief, records))}"
        for job in evidence.jobs
        for fire, records in _accounted(evidence, job).items()
        if len(records) > 1
    ]
    ids = defaultdict(set)
    asked = {one.id for records in evidence.records.values() for one in records if one.kind is not Kind.SCHEDULED}
    for execution in evidence.executions:
        if execution.run_id not in asked:
            ids[execution.job, execution.fire].add(execution.run_id)
    found += [f"{job} at {clock(fire)}: runs {sorted(runs)}" for (job, fire), runs in ids.items() if len(runs) > 1]
    return found


def miscounted(evidence: Evidence) -> list[str]:
    """Records of fires that the model does not have, or of another number of them than they say."""
    found = []
    for job in evidence.jobs:
        records = [record for record in evidence.records[job.name] if record.kind is Kind.SCHEDULED]
        anchor = ms(records[0].fire_time) if records and job.grid is Grid.FIRST else None
        for record in records:
            first, last = ms(record.fire_time), ms(record.last_fire_time)
            if evidence.cut and first <= evidence.since:
                continue
            grid = list(job.fires(max(first - 1, evidence.since), last, anchor))
            if grid[:1] != [first] or grid[-1] != last or record.count != len(grid):
                told = f"{len(grid)} fires from {clock(first)} to {clock(last)}"
                found.append(f"{brief(record)}: the model has {told}, after {clock(evidence.since)}")
    return found


def unrun(evidence: Evidence) -> list[str]:
    """Fires that became no run, of the jobs of which each fire must become one whatever happens."""
    return [
        f"{job.name} at {clock(fire)}: {'; '.join(map(brief, records)) or 'in no record'}"
        for job in evidence.jobs
        for fire, records in _accounted(evidence, job).items()
        if job.each
        and not any(record.state is State.SUCCEEDED for record in records)
        and not (evidence.hurt and any(record.state in UNHAPPY for record in records))
        and not any(_is_paused(evidence, job.name, fire, record) for record in records)
    ]


def unexcused(evidence: Evidence) -> list[str]:
    """Fires missed while a leader led, or skipped although no earlier run of the job was in the way."""
    found = []
    unled = [*_outages(evidence), *evidence.outages]
    excuses = dict.fromkeys(UNLED, unled) | {reason: [*unled, *evidence.harms] for reason in UNWORKED}
    by_job: dict[str, list[Execution]] = defaultdict(list)
    for one in evidence.executions:
        by_job[one.job].append(one)
    for job in evidence.jobs:
        for fire, records in _accounted(evidence, job).items():
            for record in records:
                if record.id is None and not (
                    meets(excuses.get(record.reason or "", ()), fire, fire)
                    or (record.reason == "overlap" and _is_in_the_way(fire, by_job[job.name]))
                    or _is_paused(evidence, job.name, fire, record)
                ):
                    found.append(f"{job.name} at {clock(fire)}: {brief(record)}")
    return found


def _is_paused(evidence: Evidence, job: str, fire: int, record: Record) -> bool:
    return record.reason == "paused" and meets(evidence.paused.get(job, ()), fire, fire)


def meets(windows: Sequence[tuple[float, float]], first: float, last: float) -> bool:
    """Return whether one of *windows* has something in common with the time from *first* to *last*."""
    return any(began <= last and first <= ended for began, ended in windows)


def _is_in_the_way(fire: int, executions: Sequence[Execution]) -> bool:
    return any(one.fire < fire and (one.end is None or _end(one) >= fire - LAG) for one in executions)


def _end(one: Execution) -> float:
    return one.wall * 1000 if one.end is None else (one.wall + one.end - one.start) * 1000


def _outages(evidence: Evidence) -> list[tuple[int, int]]:
    """Return when nobody led, a little widened: from a fault, or the start, until the next epoch's first messages.

    No longer than the site may take to recover: who stays away for longer has no excuse.
    """
    longest = int(evidence.recovery * 1000)
    began: int | None = evidence.since
    epoch, found = 0, []
    for note in evidence.notes:
        wall = int(note["wall"] * 1000)
        if note["event"] in ("hit", "term") and note["epoch"] >= epoch and began is None:
            began, epoch = wall, note["epoch"]
        elif note["event"] == "published" and began is not None and (note["epoch"] or 0) > epoch:
            found.append((began - LAG, min(wall, began + longest) + LAG))
            began = None
    return found


def repeated(evidence: Evidence) -> list[str]:
    """Attempts that were executed more than once, or that have no business to be where no worker is hurt."""
    times = Counter((one.job, one.run_id, one.attempt) for one in evidence.executions)
    found = [
        f"{job} run {run_id} attempt {attempt}: executed {count} times"
        for (job, run_id, attempt), count in times.items()
        if count > 1
    ]
    first: dict[str, Execution] = {}
    for one in evidence.executions:
        before = first.setdefault(one.run_id, one)
        again = one.attempt > 1 and evidence.hurt and meets(harms_of(evidence), before.fire, one.wall * 1000)
        if one.attempt != 1 and not again:
            found.append(f"{told(one)}: attempt {one.attempt}")
    return found


def harms_of(evidence: Evidence) -> list[tuple[int, int]]:
    """Return when anything was done to the site that the timeline tells of."""
    return [*evidence.outages, *evidence.harms]


def unexecuted(evidence: Evidence) -> list[str]:
    """Runs of the ledger that no task saw, or that did not end well, although no worker was hurt.

    Where one was, a run that was under way or queued may be lost; but what succeeded was executed, and what never ran
    says so.
    """
    executed: dict[str, float] = {}
    for one in evidence.executions:
        executed[one.run_id] = max(executed.get(one.run_id, 0.0), _end(one))
    work = {job.name: job.work * 1000 for job in evidence.jobs}
    harms = harms_of(evidence)
    found = []
    for records in evidence.records.values():
        for record in records:
            if record.id is None or record.state in UNRUN:
                continue
            if evidence.cut and ms(record.fire_time) <= evidence.since:
                continue
            fire = ms(record.fire_time)
            over = max(executed.get(record.id, 0.0), fire + work.get(record.job, 0.0))
            if evidence.hurt and record.state in UNHAPPY and meets(harms, fire, over):
                continue
            if record.id not in executed:
                found.append(f"{brief(record)}: never executed")
            elif record.state is not State.SUCCEEDED:
                found.append(f"{brief(record)}: executed, but not succeeded")
    return found


def unaccounted(evidence: Evidence) -> list[str]:
    """Executions of no run in the ledger, of one that it says was skipped, before their fire, or that never ended."""
    runs = {record.id: record for records in evidence.records.values() for record in records if record.id}
    found = []
    for one in evidence.executions:
        if evidence.cut and one.wall * 1000 <= evidence.since:
            continue
        record = runs.get(one.run_id)
        if record is None or record.job != one.job or ms(record.fire_time) != one.fire:
            found.append(f"{told(one)}: the ledger has {brief(record) if record else 'no such run'}")
        elif record.state in UNRUN:
            found.append(f"{told(one)}: the ledger has {brief(record)}")
        elif one.wall * 1000 < one.fire - EARLY:
            found.append(f"{told(one)}: {one.fire - one.wall * 1000:.0f} ms before its fire")
        if one.end is None:
            found.append(f"{told(one)}: never ended")
    return found


def unfenced(evidence: Evidence) -> list[str]:
    """Executions of a guarded job under a fencing number that is not higher than that of one before them."""
    found = []
    guarded = {job.name for job in evidence.jobs if not job.each}
    newest: dict[str, Execution] = {}
    for one in evidence.executions:
        if one.job not in guarded:
            continue
        if one.token < 1:
            found.append(f"{told(one)}: no token")
            continue
        before = newest.get(one.job)
        if before is not None and one.token <= before.token:
            found.append(f"{told(one)}: token {one.token} after {before.token}")
        else:
            newest[one.job] = one
    return found


def overlapping(evidence: Evidence) -> list[str]:
    """Pairs of executions of one job of which the second began before the first had ended."""
    found = []
    by_job: dict[str, list[Execution]] = defaultdict(list)
    for one in evidence.executions:
        by_job[one.job].append(one)
    guarded = {job.name for job in evidence.jobs if not job.each}
    for name, executions in by_job.items():
        if name not in guarded:
            continue
        running: Execution | None = None
        for one in executions:
            if running is not None and (running.end is None or one.start < running.end):
                found.append(f"{told(one)} began while {told(running)} ran")
            if running is None or running.end is None or (one.end is not None and one.end > running.end):
                running = one
    return found


def stale(evidence: Evidence) -> list[str]:
    """Claims that were granted to a scheduler whose successor had claimed already.

    One that stood still between its claim and the answer notes it late; a successor has sent those runs meanwhile.
    """
    found, newest = [], 0
    sent: dict[str, int] = {}
    for note in evidence.notes:
        if note["event"] == "published":
            sent |= dict.fromkeys(note.get("runs", ()), note["epoch"] or 0)
        if note["event"] != "claim" or not note["runs"]:
            continue
        if note["epoch"] < newest and not all(sent.get(run, 0) > note["epoch"] for run in note["runs"]):
            found.append(f"process {note['pid']}: {len(note['runs'])} runs under epoch {note['epoch']} after {newest}")
        newest = max(newest, note["epoch"])
    return found


def fires_of(evidence: Evidence, job: Planned, until: int) -> list[int]:
    records = evidence.records[job.name]
    first = ms(records[0].fire_time) if records and job.grid is Grid.FIRST else None
    return list(job.fires(evidence.since, until, first))


def _accounted(evidence: Evidence, job: Planned) -> dict[int, list[Record]]:
    """Return for each expected fire of the window the records that account for it."""
    grid = fires_of(evidence, job, evidence.until)
    found: dict[int, list[Record]] = {fire: [] for fire in grid}
    for record in evidence.records[job.name]:
        first, last = bisect_left(grid, ms(record.fire_time)), bisect_right(grid, ms(record.last_fire_time))
        for fire in grid[first:last]:
            found[fire].append(record)
    return found


def first_witnesses(witnesses: Sequence[str], limit: int = 12) -> str:
    """Return the first witnesses as text, and how many more there are."""
    more = len(witnesses) - limit
    return "\n".join((*witnesses[:limit], *([f"… and {more} more"] if more > 0 else [])))


def clock(fire: int) -> str:
    return datetime.fromtimestamp(fire / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]


def brief(record: Record) -> str:
    reason = f"({record.reason})" if record.reason else ""
    told = f"{record.job} {clock(ms(record.fire_time))} {record.state.value}{reason} ×{record.count}"
    return f"{told} {record.id}" if record.id else told


def told(one: Execution) -> str:
    end = "…" if one.end is None else f"{one.end:.3f}"
    return f"{one.job} {clock(one.fire)} run {one.run_id} in {one.pid} [{one.start:.3f}, {end}]"
