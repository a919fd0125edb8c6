"""Faults of servers: restarts with and without memory, a stale replica promoted, memory that is full."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import redis

from celery_legion.embedded import EmbeddedValkey
from tests.faults.ending import message_of
from tests.faults.member import Member
from tests.faults.notebook import TASKS, Notebook
from tests.faults.scenario import Scenario, Trial
from tests.faults.scenarios.network import CURED_AFTER, to_boundary
from tests.faults.site import Setup
from tests.servers.polling import eventually
from tests.worker.survivors import descendants


def client(server: EmbeddedValkey) -> Any:
    return redis.Redis.from_url(server.url(0), socket_timeout=5)


def restart(trial: Trial, name: str, server: EmbeddedValkey, *, forget: bool = False) -> None:
    """Kill *server* just after a boundary and start it again; with *forget* without what it knew."""
    to_boundary(1.0, trial.choose.uniform(-0.04, 0.0))
    line = trial.site.fault(f"{name} restarts", forget=forget)
    server.kill()
    if forget:
        assert server.folder is not None
        shutil.rmtree(server.folder / "appendonlydir", ignore_errors=True)
    trial.sleep(trial.choose.uniform(0.2, 1.5))
    server.start()
    trial.site.healed(line)
    trial.count("restarts")


def restarts(trial: Trial) -> None:
    """F11: store and broker are killed at boundaries; their append-only files keep what they had answered."""
    site = trial.site
    for fsync in ("everysec", "always"):
        for server in (site.server, site.broker):
            client(server).config_set("appendfsync", fsync)
        for _ in range(trial.times(3, 20)):
            for name, server in (("store", site.server), ("broker", site.broker)):
                restart(trial, name, server)
                trial.sleep(4)


def forgetful_broker(trial: Trial) -> None:
    """F11: the broker loses its queues: what lay in them is the ledger's to tell of."""
    for _ in range(trial.times(4, 20)):
        restart(trial, "broker", trial.site.broker, forget=True)
        trial.sleep(5)


def forgetful_store(trial: Trial) -> dict[str, Any]:
    """F11: the store loses all: what was begun is not run again, and the schedule goes on from what beats remember."""
    site = trial.site
    queued = 0
    for _ in range(trial.times(3, 20)):
        # Messages lie in the queue meanwhile, and only they know of their runs afterwards.
        began = datetime.now(UTC)
        with standing_still(site.workers):
            trial.sleep(2.5)
            restart(trial, "store", site.server, forget=True)
            queued += sum(row.at >= began for row in site.tap.rows) if site.tap is not None else 0
        trial.sleep(6)
    since = int(time.time() * 1000)
    # The ledger begins anew with the last restart; what ran before it is known by the tasks alone.
    site.since = since
    trial.sleep(5)
    dropped = unexecuted(trial, [job.name for job in site.setup.jobs if job.each], since)
    return {
        "queued_while_it_forgot": queued,
        "breaches": {"executed_twice": twice(trial), "lost": [*unsaid(trial, since), *dropped]},
    }


def stale_replica(trial: Trial) -> dict[str, Any]:
    """F12: the store fails over to a replica that is seconds behind: whoever has led tells it what was sent."""
    site = trial.site
    lost = trial.choose.uniform(2, 4)
    replica = EmbeddedValkey()
    replica.password = site.server.password
    replica.start()
    follower = client(replica)
    follower.config_set("masterauth", site.server.password)
    follower.replicaof("127.0.0.1", site.server.port)
    eventually(lambda: follower.info("replication").get("master_link_status") == "up", 10, "the replica follows")
    trial.sleep(2)
    follower.replicaof("NO", "ONE")
    line = site.fault("failover", behind_s=round(lost, 1))
    trial.sleep(lost)
    for member in site.members:
        member.doors.store.target = ("127.0.0.1", replica.port)
        member.doors.store.reset()
    site.server.kill()
    site.healed(line)
    trial.count("failovers")
    trial.sleep(8)
    since = int(time.time() * 1000)
    trial.sleep(5)
    # The harness' own eyes follow, with everything that the replica has.
    site.adopt(replica)
    site.since = since
    # Of runs around the moment at which it stopped to follow, the replica may know the claim and not the begin.
    window = (line["wall"] * 1000 - 1000, line["wall"] * 1000)
    return {
        "behind_s": round(lost, 1),
        "run_again_from_the_last_moment": len(twice(trial)) - len(twice(trial, window)),
        "breaches": {"executed_twice": twice(trial, window), "lost": unsaid(trial, since)},
    }


def full_memory(trial: Trial) -> dict[str, Any]:
    """F19: the store takes no more writes; later it may evict what it likes, and beats must have warned."""
    site = trial.site
    admin = client(site.server)
    for _ in range(trial.times(2, 12)):
        line = site.fault("memory is full")
        admin.config_set("maxmemory", "1mb")
        trial.sleep(4)
        admin.config_set("maxmemory", "0")
        site.healed(line)
        trial.count("floods")
        trial.sleep(5)
    admin.config_set("maxmemory-policy", "allkeys-lru")
    warnings = site.store.warnings()
    admin.config_set("maxmemory-policy", "noeviction")
    return {"breaches": {"liveness": [] if warnings else ["nobody warns of a store that may evict keys"]}}


def executions(trial: Trial) -> list[dict[str, Any]]:
    return [row for row in Notebook(trial.site.folder / TASKS).read() if row["event"] == "start"]


def unexecuted(trial: Trial, jobs: Sequence[str], until: int) -> list[str]:
    """Return the fires of *jobs*, which may overlap themselves, whose message reached the broker and was dropped."""
    done = {row["id"] for row in executions(trial)}
    sent = [] if trial.site.tap is None else [message_of(row) for row in trial.site.tap.rows]
    return [
        f"{message.job} at {message.fire}: its message was dropped"
        for message in sent
        if message.job in jobs and message.fire is not None and message.fire < until and message.run_id not in done
    ]


@contextmanager
def standing_still(workers: Sequence[Member]) -> Iterator[None]:
    """Stop workers with all that they have started."""
    family = [pid for worker in workers for pid in (worker.pid, *descendants(worker.pid))]
    try:
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def twice(trial: Trial, but: tuple[float, float] = (0.0, 0.0)) -> list[str]:
    """Return the fires that tasks have executed more than once, *but* those in a window (ms)."""
    times = Counter((row["job"], row["fire"]) for row in executions(trial) if not but[0] <= row["fire"] <= but[1])
    return [f"{job} at {fire}: executed {count} times" for (job, fire), count in times.items() if count > 1]


def unsaid(trial: Trial, until: int) -> list[str]:
    """Return the jobs that stood still for longer than faults can explain, by what tasks have executed."""
    found = []
    for job in trial.site.setup.jobs:
        fires = sorted({row["fire"] for row in executions(trial) if row["job"] == job.name and row["fire"] < until})
        longest = max((later - earlier for earlier, later in pairwise(fires)), default=0)
        if not fires or longest > 9000 + job.period:
            found.append(f"{job.name}: nothing ran for {longest / 1000:.1f} s")
    return found


SCENARIOS = (
    Scenario(
        name="restart-servers",
        faults="F11",
        told="store and broker killed at boundaries, files kept",
        setup=Setup(workload="calm"),
        act=restarts,
        hurt=True,
        noisy=True,
        recovery=CURED_AFTER + 3.0,
        seconds=100,
    ),
    Scenario(
        name="forgetful-broker",
        faults="F11",
        told="the broker forgets its queues",
        setup=Setup(workload="calm"),
        act=forgetful_broker,
        hurt=True,
        noisy=True,
        recovery=CURED_AFTER + 3.0,
        seconds=70,
    ),
    Scenario(
        name="forgetful-store",
        faults="F11",
        told="the store forgets everything",
        setup=Setup(workload="calm"),
        act=forgetful_store,
        hurt=True,
        noisy=True,
        recovery=8.0,
        seconds=70,
    ),
    Scenario(
        name="stale-replica",
        faults="F12",
        told="failover to a replica that is seconds behind",
        setup=Setup(workload="calm"),
        act=stale_replica,
        hurt=True,
        noisy=True,
        recovery=8.0,
        seconds=60,
    ),
    Scenario(
        name="full-memory",
        faults="F19",
        told="the store's memory is full, then may evict",
        setup=Setup(workload="calm"),
        act=full_memory,
        hurt=True,
        noisy=True,
        recovery=8.0,
        seconds=60,
    ),
)
