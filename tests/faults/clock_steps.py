"""F14: clocks that are set while jobs run each second: ``python -m tests.faults.clock_steps``.

Three beats, a worker, and broker and store on servers of their own. In each trial one clock is set and set back: that
of the leading beat, of the store, or of both at once, which are one machine then. In between the leader is killed, so
that another takes over from a scheduler, or on a store, with a wrong clock. The broker, on which runs are written down,
and the worker keep the real time.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import redis

from celery_legion.embedded import EmbeddedValkey
from celery_legion.stores import open_store
from celery_legion.stores.base import StoreOptions
from tests.faults.faketime import FakeTime, faked
from tests.servers.polling import eventually
from tests.servers.processes import Process, Processes

APP = "tests.faults.clock_steps_app"
JOBS = (("each", 1, 0), ("second", 2, 0), ("fifth", 5, 0), ("guarded", 1, 2.5))
"""Name, period in seconds, and how long a run works; one that works at all may not overlap itself."""

WARM, HELD, AFTER = 4.0, 10.0, 6.0
"""Real seconds before the step, from it to the step back, and from there to the end."""

STORM = 15
"""Most runs of one job that begin within a second: what a take-over within the lease leaves to catch up with."""

EARLY = 0.05
"""Seconds by which a run may begin before its fire: clocks of agreeing processes are not read at once."""

AGREEING = 1.0
"""Seconds by which clocks may differ and still count as agreeing: a clock that drifts passes through them."""

LATE = 7.0
"""Most seconds that a run may be late: the dead leader's lease, a pass, and a busy machine."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Whose clock is set by how many seconds; *drift* lets it run at double speed instead."""

    who: str
    step: int = 0
    drift: bool = False
    kill: bool = True


TRIALS = (
    Trial(who="nobody", kill=False),
    Trial(who="nobody"),
    *(Trial(who=who, step=step) for who in ("leader", "store") for step in (90, -90, 3600, -3600)),
    Trial(who="leader", drift=True),
    Trial(who="leader", step=-3600, kill=False),
    Trial(who="store", step=3600, kill=False),
    Trial(who="store", step=-3600, kill=False),
)


def run(trial: Trial) -> dict[str, Any]:
    """Run one trial and return its row: what is lost, doubled, early, late, in a storm, or overlaps."""
    with tempfile.TemporaryDirectory(prefix="clock-steps-") as folder:
        return {"scenario": "clock_steps", **asdict(trial), **Steps(trial, Path(folder)).go()}


class Steps:
    """One trial."""

    def __init__(self, trial: Trial, folder: Path) -> None:
        self.trial, self.folder = trial, folder
        self.processes = Processes(folder)
        self.clocks = {name: FakeTime(folder / name) for name in ("leader", "store")}
        self.taken_over: float | None = None

    def go(self) -> dict[str, Any]:
        broker, store = EmbeddedValkey(self.folder / "bus"), EmbeddedValkey(self.folder / "kept")
        broker.start()
        with faked(self.clocks["store"]):
            store.start()
        told = {"broker": broker.url(), "store": store.url(), "jobs": JOBS}
        self.env = {"CLOCK_STEPS": json.dumps(told)}
        try:
            self.processes.worker(APP, "--pool", "threads", "--concurrency", "12", env=self.env)
            leader = self.processes.beat(APP, env={**self.env, **self.clocks["leader"].env()})
            leader.wait_for("leads with epoch")
            others = [self.processes.beat(APP, env=self.env) for _ in range(2)]
            # One that has never looked cannot know a step from the truth.
            seen = open_store(StoreOptions(url=store.url(), prefix="legion:steps"))
            eventually(lambda: len(seen.schedulers()) == 3, 40, "all three have looked at the clocks")
            seen.close()
            since = time.time()
            self._sequence([leader, *others])
            until = time.time() - 1.0
            # What is late comes now.
            time.sleep(2.0)
            with redis.Redis.from_url(broker.url()) as ledger:
                rows = [json.loads(text) for text in ledger.lrange("ledger", 0, -1)]
            return self._judge(rows, since + 1.0, until, [leader, *others])
        finally:
            self.processes.end()
            store.close()
            broker.close()

    def _sequence(self, beats: Sequence[Process]) -> None:
        time.sleep(WARM)
        clock = self.clocks.get(self.trial.who)
        if clock is not None:
            clock.step(timedelta(seconds=self.trial.step))
        # The run that works begins before the step and ends after it, and so do renewals of its lease.
        killed = time.monotonic() + HELD / 2
        over = time.monotonic() + HELD
        while time.monotonic() < over:
            if self.trial.drift and clock is not None:
                clock.step(timedelta(seconds=0.1))
            if self.trial.kill and self.taken_over is None and time.monotonic() >= killed:
                self._kill(beats)
            time.sleep(0.1)
        if clock is not None:
            clock.set_offset(timedelta(0))
        time.sleep(AFTER)

    def _kill(self, beats: Sequence[Process]) -> None:
        """Kill the one that leads, which is another than at first where the store's clock was set ahead."""
        began, victim = time.monotonic(), max(beats, key=_epoch)
        epoch = _epoch(victim)
        victim.kill9()
        eventually(lambda: max(map(_epoch, beats)) > epoch, 10.0, "a take-over", pause=0.02)
        self.taken_over = round(time.monotonic() - began, 2)

    def _judge(self, rows: Sequence[Row], since: float, until: float, beats: Iterable[Process]) -> dict[str, Any]:
        runs: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            runs[row["job"]].append(row)
        lost, doubled = [], []
        expected = 0
        for name, period, work in JOBS:
            fires = Counter(round(row["fire"]) for row in runs[name])
            doubled += [f"{name} {_at(fire)}" for fire, number in fires.items() if number > 1]
            if not work:
                due = [second for second in range(int(since) + 1, int(until) + 1) if second % period == 0]
                expected += len(due)
                lost += [f"{name} {_at(second)}" for second in due if second not in fires]
        late = [row["began"] - row["fire"] for row in rows if not _guarded(row)]
        early = EARLY + (AGREEING if self.trial.drift else 0)
        texts = "\n".join(process.output for process in self.processes.started)
        return {
            "slots": expected,
            "runs": len(rows),
            "lost": lost[:20],
            "doubled": doubled[:20],
            "early": [f"{row['job']} {_at(row['fire'])}" for row in rows if row["began"] < row["fire"] - early][:20],
            "late": [f"{row['job']} {_at(row['fire'])}" for row in rows if row["began"] > row["fire"] + LATE][:20],
            "storm": [name for name, some in runs.items() if _densest(some) > STORM],
            "overlap": _overlaps(runs["guarded"]),
            "guarded": len(runs["guarded"]),
            "latest": round(max(late, default=0.0), 2),
            "taken_over": self.taken_over,
            "warned": len(re.findall(r"this host's clock \(", texts)),
            "healed": len(re.findall("agree again", texts)),
            "ended": [beat.log.name for beat in beats if not beat.alive and not self.trial.kill],
            "errors": re.findall(r".*(?:ERROR|Traceback|CRITICAL).*", texts)[:5],
        }


def _epoch(beat: Process) -> int:
    """Return the epoch with which this beat led last."""
    return max((int(epoch) for epoch in re.findall(r"leads with epoch (\d+)", beat.output)), default=0)


def _guarded(row: Row) -> bool:
    return bool(row["job"] == "guarded")


def _at(second: float) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%H:%M:%S}"


def _densest(rows: Iterable[Row]) -> int:
    """Return how many of these begin within one second at most."""
    times = sorted(row["began"] for row in rows)
    return max((sum(began <= other < began + 1 for other in times) for began in times), default=0)


def _overlaps(rows: Iterable[Row]) -> list[str]:
    ordered = sorted(rows, key=lambda row: row["began"])
    return [
        f"{_at(one['fire'])} and {_at(two['fire'])}" for one, two in pairwise(ordered) if two["began"] < one["ended"]
    ]


def breaches(row: Row) -> list[str]:
    """Return what is lost, doubled, early, late, in a storm or overlaps, and whether a difference was not said."""
    names = ("lost", "doubled", "early", "late", "storm", "overlap", "ended", "errors")
    found = [f"{name}: {one}" for name in names for one in row[name]]
    if bool(row["warned"]) != (row["who"] != "nobody"):
        found.append("clocks that differ were not named, or some that do not were")
    return found if row["guarded"] else [*found, "the guarded job never ran"]


def table(trials: Sequence[Trial], lanes: int) -> Iterator[dict[str, Any]]:
    """Yield the row of each trial, *lanes* at a time.

    Each runs in a process of its own: a server is started with another clock in its environment.
    """
    with ProcessPoolExecutor(lanes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(run, trials)


def scenario(choose: Random, full: bool, folder: Path) -> dict[str, Any]:
    """Return one row over all trials, or over those that say most."""
    trials = TRIALS if full else [trial for trial in TRIALS if trial.kill and abs(trial.step) != 90]
    rows = list(table(trials, 2))
    witnesses = [f"{row['who']} {row['step']:+d} s: {text}" for row in rows for text in breaches(row)]
    spans = sorted(row["taken_over"] for row in rows if row["taken_over"] is not None)
    return {
        "trials": len(rows),
        "slots": sum(row["slots"] for row in rows),
        "executions": sum(row["runs"] for row in rows),
        "kills": len(spans),
        "takeover_s": {"after_kill": {"p50": spans[len(spans) // 2], "max": spans[-1]}} if spans else {},
        "latest_s": max(row["latest"] for row in rows),
        "breaches": len(witnesses),
        "witnesses": witnesses[:20],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON row a trial; exit code 1 if a promise was broken in one."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.clock_steps", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD", help="only trials that have all of these in their row")
    parser.add_argument("--lanes", type=int, default=2, help="trials at a time (default 2)")
    told = parser.parse_args(argv)
    chosen = [trial for trial in TRIALS if all(word in json.dumps(asdict(trial)) for word in told.words)]
    bad = False
    for row in table(chosen, told.lanes):
        print(json.dumps(row), flush=True)
        bad = bad or bool(breaches(row))
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
