"""The soak: twenty thousand runs an hour under random faults, and what a site uses at its end as at its start."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import redis

from celery_legion.run import Record
from tests.faults.scenario import Scenario, Trial
from tests.faults.scenarios import leaders, network, servers, workers
from tests.faults.scenarios.network import CUTS
from tests.faults.site import Setup, Site

SAMPLE_EVERY = 20.0
GROWTH = 1.25
"""By how much a site may use more in its last third than in its second: what grows with each run grows by more."""


class Books:
    """The ledger is bounded, as a user's: its records are read before they are trimmed, and what is used is noted."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.records: dict[str, dict[str, Record]] = {job.name: {} for job in site.setup.jobs}
        self.samples: list[dict[str, float]] = []
        self._server = redis.Redis.from_url(site.server.url(1), socket_timeout=5)
        self._broker = redis.Redis.from_url(site.broker.url(0), socket_timeout=5)

    def read(self) -> None:
        """Read the newest records of every job."""
        for name, known in self.records.items():
            for record in self.site.store.runs(name, 100):
                known[record.id or f"{record.state.value} {record.reason} {record.fire_time}"] = record

    def sample(self) -> None:
        """Note what the site uses now."""
        sample = {
            "at": time.monotonic() - self.site.began,
            "keys": float(self._server.dbsize()),
            "broker_keys": float(self._broker.dbsize()),
            "store_mb": self._server.info("memory")["used_memory"] / 1e6,
        }
        for role in ("beat", "worker"):
            pids = [member.pid for member in self.site.members if member.role == role and member.process.alive]
            used = [usage for pid in pids if (usage := _usage(pid)) is not None]
            for what in ("rss_mb", "fds", "threads"):
                if used:
                    sample[f"{role}_{what}"] = max(one[what] for one in used)
        self.samples.append(sample)

    def ledger(self) -> Mapping[str, list[Record]]:
        """Return all that was ever read, oldest first; of a lapse that grew, the last state."""
        return {name: sorted(known.values(), key=lambda one: one.fire_time) for name, known in self.records.items()}

    def grown(self) -> list[str]:
        """Return what is used more in the last third than in the second."""
        third = len(self.samples) // 3
        found = []
        for what in self.samples[-1]:
            before = [one[what] for one in self.samples[third : 2 * third] if what in one]
            after = [one[what] for one in self.samples[2 * third :] if what in one]
            if what != "at" and before and after and median(after) > median(before) * GROWTH + 3:
                found.append(f"{what}: {median(before):.1f} in the second third, {median(after):.1f} in the last")
        return found

    def table(self) -> dict[str, list[float]]:
        """Return each thing's medians by thirds, and its last value."""
        third = max(1, len(self.samples) // 3)
        parts = [self.samples[:third], self.samples[third : 2 * third], self.samples[2 * third :]]
        names = [name for name in self.samples[-1] if name != "at"]
        return {
            name: [round(median([one[name] for one in part if name in one] or [0]), 1) for part in parts]
            + [round(self.samples[-1][name], 1)]
            for name in names
        }


def _usage(pid: int) -> dict[str, float] | None:
    folder = Path(f"/proc/{pid}")
    try:
        pages = int((folder / "statm").read_text().split()[1])
        fds, threads = len(list((folder / "fd").iterdir())), len(list((folder / "task").iterdir()))
    except OSError:
        return None
    return {"rss_mb": pages * 4096 / 1e6, "fds": float(fds), "threads": float(threads)}


def a_leader_killed(trial: Trial) -> None:
    leaders.strike(trial, trial.site.leader(), signal.SIGKILL, -signal.SIGKILL, "kill")
    trial.count("kills")


def a_leader_ended(trial: Trial) -> None:
    leaders.strike(trial, trial.site.leader(), signal.SIGTERM, 0, "term")
    trial.count("terms")


def a_leader_paused(trial: Trial) -> None:
    beat = trial.site.leader()
    line = trial.site.fault("pause", pid=beat.pid)
    beat.process.stop()
    time.sleep(trial.choose.uniform(1, 2 * trial.site.setup.lease))
    beat.process.cont()
    trial.site.healed(line)
    trial.count("pauses")


def a_worker_killed(trial: Trial) -> None:
    workers.kill(trial, trial.choose.choice(trial.site.workers))


def a_worker_paused(trial: Trial) -> None:
    workers.pause(trial, trial.choose.choice(trial.site.workers), trial.choose.uniform(1, 12))


def a_server_restarted(trial: Trial) -> None:
    name = trial.choose.choice(("store", "broker"))
    servers.restart(trial, name, trial.site.server if name == "store" else trial.site.broker)


def a_way_cut(trial: Trial) -> None:
    site = trial.site
    members = trial.choose.choice([[site.leader()], [trial.choose.choice(site.workers)], site.members])
    way = trial.choose.choice(("store", "broker", "both"))
    network.cut(trial, members, way, trial.choose.choice(CUTS), trial.choose.uniform(0.5, 8))


FAULTS: tuple[Callable[[Trial], None], ...] = (
    *(a_leader_killed,) * 3,
    *(a_leader_paused,) * 2,
    a_leader_ended,
    a_worker_killed,
    a_worker_paused,
    a_server_restarted,
    *(a_way_cut,) * 2,
)


def soak(trial: Trial) -> dict[str, Any]:
    """Break something every half a minute or so."""
    site = trial.site
    books = Books(site)
    until = time.monotonic() + trial.times(180, 3600)
    next_fault = time.monotonic() + 20
    next_sample = time.monotonic()
    while time.monotonic() < until:
        if time.monotonic() > next_fault:
            trial.choose.choice(FAULTS)(trial)
            next_fault = time.monotonic() + trial.choose.uniform(20, 50)
        if time.monotonic() > next_sample:
            books.read()
            books.sample()
            next_sample = time.monotonic() + SAMPLE_EVERY
        time.sleep(0.2)
    time.sleep(20)
    books.sample()
    site.books = books
    # What is remembered for five minutes, and ledgers of a hundred, grow until they are full.
    return {"usage": books.table(), "breaches": {"residue": books.grown() if trial.full else []}}


SCENARIOS = (
    Scenario(
        name="soak",
        faults="soak",
        told="20 000 runs an hour under random faults",
        setup=Setup(
            workload="soak",
            lease=10.0,
            run_lease=20.0,
            concurrency=3,
            settings={
                "legion_ledger_size": 100,
                "legion_ledger_total": 100_000,
                "legion_dedup_age": 300,
                "broker_transport_options": {"visibility_timeout": 60},
            },
        ),
        act=soak,
        hurt=True,
        noisy=True,
        recovery=32.0,
        seconds=400,
        named=True,
    ),
)
