"""F15: a real beat through both changes of daylight saving in three zones: ``python -m tests.faults.daylight``.

Beat and its store live on one clock, which is ours. It is set from minute to minute, so that hours pass in seconds;
through each quarter of an hour it runs at its own pace, so that beat waits for real and wakes by itself.
What reached the broker's queue is compared with slots of a model that walks through real time.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import redis

from celery_legion.clock import from_ms, isoformat
from celery_legion.embedded import EmbeddedValkey
from celery_legion.stores import open_store
from celery_legion.stores.base import StoreOptions
from tests.faults.faketime import FakeTime, faked
from tests.properties.cron_model import CronModel, Day, Numbers, transitions
from tests.servers.processes import Process, Processes

APP = "tests.faults.daylight_app"
LEGION, BEAT = "celery_legion.Scheduler", "celery.beat:PersistentScheduler"
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
SECOND, MINUTE, QUARTER = timedelta(seconds=1), timedelta(minutes=1), timedelta(minutes=15)
BEFORE = AFTER = timedelta(minutes=80)
INTO = timedelta(minutes=5)
"""How far into the second pass a beat is started there."""

RUN_UP = timedelta(milliseconds=300)
"""How long before a quarter of an hour the clock begins to run at its own pace."""

PATIENCE = 10.0
"""Real seconds after which a message that has not come is waited for no longer."""

WATCHED = 4.0
"""Real seconds for which beat's storm is watched."""

Fire = tuple[str, datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One beat: in which zone, through which change (or a week before it), and started when."""

    zone: str
    change: str
    start: str
    scheduler: str = LEGION


TRIALS = (
    *(
        Trial(zone=zone, change=change, start=start)
        for zone in ZONES
        for change in ("spring", "autumn")
        for start in ("before", "first pass", "second pass", "restarted")
    ),
    *(Trial(zone=zone, change="control", start="before") for zone in ZONES),
    *(Trial(zone=ZONES[0], change=change, start="second pass", scheduler=BEAT) for change in ("control", "autumn")),
)
"""In spring there are no two passes: the starts are shortly before and shortly after the gap."""


def run(trial: Trial) -> dict[str, Any]:
    """Run one trial and return its row: how many slots and messages, and which are lost, doubled, outside or early."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="daylight-") as folder:
        found = Passage(trial, Path(folder)).go()
    return {"scenario": "daylight", **asdict(trial), **found, "seconds": round(time.monotonic() - began, 1)}


class Passage:
    """One beat on its way through a change."""

    def __init__(self, trial: Trial, folder: Path) -> None:
        self.trial, self.folder = trial, folder
        self.zone = ZoneInfo(trial.zone)
        self.at = _change(self.zone, "autumn" if trial.change == "control" else trial.change)
        walls = [moment.astimezone(self.zone).replace(tzinfo=None) for moment in (self.at - MINUTE, self.at)]
        self.jobs = _jobs(min(walls) + MINUTE * (walls[0] < walls[1]), max(walls) + MINUTE * (walls[0] > walls[1]))
        if trial.change == "control":
            self.at -= timedelta(days=7)
        span = timedelta(seconds=abs((walls[1] - walls[0] - MINUTE).total_seconds()))
        offset = {"before": -BEFORE, "first pass": -span / 2, "second pass": INTO, "restarted": -span / 2}
        # A few seconds past the minute, so that none begins while beat does.
        self.begin = self.at + offset[trial.start] + 5 * SECOND
        self.end = self.at + AFTER
        self.clock = FakeTime(folder / "clock")
        self.processes = Processes(folder)
        self.early: list[Fire] = []
        self._seen: list[Fire] = []

    def go(self) -> dict[str, Any]:
        self.clock.set_time(self.begin)
        server = EmbeddedValkey(self.folder / "valkey")
        with faked(self.clock):
            server.start()
        try:
            with redis.Redis.from_url(server.url(), decode_responses=True) as broker:
                return (
                    self._beat(server.url(), broker)
                    if self.trial.scheduler == BEAT
                    else self._legion(server.url(), broker)
                )
        finally:
            self.processes.end()
            server.close()

    def _start(self, url: str) -> Process:
        told = {
            "zone": self.trial.zone,
            "jobs": self.jobs,
            "broker": url,
            "legion": self.trial.scheduler == LEGION,
        }
        env = {**self.clock.env(), "DAYLIGHT": json.dumps(told)}
        options = ["-S", self.trial.scheduler, "--loglevel", "INFO", "--pidfile="]
        if self.trial.scheduler == BEAT:
            options += ["-s", str(self.folder / "schedule")]
        return self.processes.celery(APP, "beat", *options, name="beat", env=env)

    def _legion(self, url: str, broker: redis.Redis) -> dict[str, Any]:
        beat = self._start(url)
        beat.wait_for("leads with epoch")
        expected = self._slots()
        store = open_store(StoreOptions(url=url, prefix="legion:daylight"))
        restart = self.at + INTO if self.trial.start == "restarted" else None
        try:
            for minute in self._minutes():
                if restart is not None and minute > restart:
                    restart = None
                    # What is sent is confirmed; what is not would be sent again, under the same id.
                    time.sleep(0.5)
                    beat.terminate()
                    beat = self._start(url)
                    beat.wait_for("leads with epoch")
                quarter = (minute - self.at) % QUARTER == timedelta(0)
                self.clock.set_time(minute - RUN_UP if quarter else minute + timedelta(milliseconds=5))
                store.wake()
                due = {fire for fire in expected if fire[1] == minute}
                self._await(broker, due)
            # What comes late comes now.
            time.sleep(1.5)
            self._look(broker)
        finally:
            store.close()
        return self._compare(expected)

    def _minutes(self) -> Iterator[datetime]:
        minute = self.begin.replace(second=0, microsecond=0) + MINUTE
        while minute <= self.end:
            yield minute
            minute += MINUTE

    def _slots(self) -> set[Fire]:
        return {
            (name, fire)
            for name, (minute, hour) in self.jobs.items()
            for fire in _model(minute, hour, self.zone).fires(self.begin, self.end)
        }

    def _await(self, broker: redis.Redis, due: set[Fire]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not due <= set(self._look(broker)) and time.monotonic() < deadline:
            time.sleep(0.01)

    def _look(self, broker: redis.Redis) -> Sequence[Fire]:
        """Read what is new in the queue, where the newest is first."""
        now = self.clock.now()
        # One call: what comes in between two would shift the places.
        new = [_fire(text) for text in reversed(broker.lrange("celery", 0, -len(self._seen) - 1))]
        self.early += [fire for fire in new if fire[1] > now]
        self._seen += new
        return self._seen

    def _compare(self, expected: set[Fire]) -> dict[str, Any]:
        counted = Counter(self._seen)
        return {
            "slots": len(expected),
            "messages": len(self._seen),
            "lost": _told(expected - set(counted)),
            "doubled": _told(fire for fire, number in counted.items() if number > 1),
            "outside": _told(set(counted) - expected),
            "early": _told(self.early),
            "logged": self._complaints(),
        }

    def _complaints(self) -> list[str]:
        """Return errors in beat's log, and differing clocks, of which there are none."""
        lines = [line for process in self.processes.started for line in process.output.splitlines()]
        return [line for line in lines if "ERROR" in line or "Traceback" in line or "'s clock (" in line][:5]

    def _beat(self, url: str, broker: redis.Redis) -> dict[str, Any]:
        """Watch Celery's own beat for a few seconds: how much it sends while no minute begins."""
        self._start(url).wait_for("beat: Starting")
        time.sleep(WATCHED)
        sent = Counter(json.loads(text)["headers"]["task"] for text in broker.lrange("celery", 0, -1))
        due = {name for name, fire in self._slots() if fire <= self.clock.now()}
        return {
            "slots": len(due),
            "messages": sum(sent.values()),
            "doubled": {name: number for name, number in sent.most_common(3) if number > 1},
            "outside": sorted(set(sent) - due),
            "watched": WATCHED,
        }


def _change(zone: ZoneInfo, change: str) -> datetime:
    """Return the instant of 2026 at which summer time begins (spring) or ends (autumn) in *zone*."""
    for moment in transitions(zone, 2026, 2027):
        ahead = moment.astimezone(zone).utcoffset() or timedelta(0)
        behind = (moment - MINUTE).astimezone(zone).utcoffset() or timedelta(0)
        if (ahead > behind) == (change == "spring"):
            return moment
    raise LookupError(f"no {change} in {zone}")


def _jobs(low: datetime, high: datetime) -> dict[str, tuple[str, str]]:
    """Return (minute, hour) by name: fixed times in and around the wall times from *low* to *high*, and wildcards."""
    jobs = {
        "each-minute": ("*", "*"),
        "each-quarter": ("*/15", "*"),
        "each-second-hour": ("30", "*/2"),
        "each-third-hour": ("0", "*/3"),
        "quarters-of-the-hour": ("*/15", str(low.hour)),
    }
    wall = low - 2 * QUARTER
    while wall <= high + 2 * QUARTER:
        jobs[f"at-{wall:%H-%M}"] = (str(wall.minute), str(wall.hour))
        wall += QUARTER
    return jobs


def _model(minute: str, hour: str, zone: ZoneInfo) -> CronModel:
    every = Day("*", lambda today: True)
    return CronModel(
        minute=_numbers(minute, 60),
        hour=_numbers(hour, 24),
        day=every,
        month=Numbers("*", frozenset(range(1, 13))),
        weekday=every,
        second=None,
        days="and",
        zone=zone,
    )


def _numbers(text: str, end: int) -> Numbers:
    star, _, step = text.partition("/")
    values = range(0, end, int(step or 1)) if star == "*" else (int(text),)
    return Numbers(text, frozenset(values))


def _fire(text: str | bytes) -> Fire:
    header = json.loads(text)["headers"]["legion"]
    return header["job"], from_ms(header["fire"])


def _told(fires: Any) -> list[str]:
    return [f"{name} {isoformat(fire)}" for name, fire in sorted(fires, key=lambda fire: (fire[1], fire[0]))][:20]


def breaches(row: Mapping[str, Any]) -> list[str]:
    """Return the slots of a row of ours without exactly one message, the messages without a slot, and complaints."""
    names = ("lost", "doubled", "outside", "early", "logged")
    found = [f"{name}: {one}" for name in names for one in row[name]]
    return found if row["slots"] else [*found, "no slot was expected"]


def table(trials: Sequence[Trial], lanes: int) -> Iterator[dict[str, Any]]:
    """Yield the row of each trial, *lanes* at a time.

    Each runs in a process of its own: a server is started with another clock in its environment.
    """
    with ProcessPoolExecutor(lanes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(run, trials)


def scenario(choose: Random, full: bool, folder: Path) -> dict[str, Any]:
    """Return one row over all trials; ``beat_sent`` is what Celery's own beat sent where nothing was due."""
    rows = list(table(TRIALS, 2))
    ours, peers = [[row for row in rows if (row["scheduler"] == LEGION) is mine] for mine in (True, False)]
    witnesses = [f"{row['zone']} {row['change']}, {row['start']}: {text}" for row in ours for text in breaches(row)]
    return {
        "trials": len(ours),
        "slots": sum(row["slots"] for row in ours),
        "messages": sum(row["messages"] for row in ours),
        "beat_sent": {row["change"]: row["messages"] for row in peers},
        "breaches": len(witnesses),
        "witnesses": witnesses[:20],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON row a trial; exit code 1 if a slot of ours has not exactly one message."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.daylight", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD", help="only trials that have all of these in their row")
    parser.add_argument("--lanes", type=int, default=2, help="trials at a time (default 2)")
    told = parser.parse_args(argv)
    chosen = [trial for trial in TRIALS if all(word in json.dumps(asdict(trial)) for word in told.words)]
    bad = False
    for row in table(chosen, told.lanes):
        print(json.dumps(row), flush=True)
        bad = bad or (row["scheduler"] == LEGION and bool(breaches(row)))
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
