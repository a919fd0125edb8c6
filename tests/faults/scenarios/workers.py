"""Faults of workers: killed, paused and away while guarded runs go on, and messages that come again."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from tests.faults.scenario import Scenario, Trial
from tests.faults.site import Member, Setup
from tests.worker.survivors import descendants


def kill(trial: Trial, worker: Member) -> None:
    """Kill a worker's main process; what it runs must not outlive it."""
    trial.site.fault("kill", pid=worker.pid, role="worker")
    trial.site.strike(worker, signal.SIGKILL, -signal.SIGKILL)
    trial.count("worker_kills")


def pause(trial: Trial, worker: Member, seconds: float) -> None:
    """Stop a worker with all that it has started, as a suspended machine does, and let it go on."""
    family = [worker.pid, *descendants(worker.pid)]
    line = trial.site.fault("pause", pid=worker.pid, role="worker", seconds=round(seconds, 1))
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if number == signal.SIGSTOP:
            trial.sleep(seconds)
    trial.site.healed(line)
    trial.count("worker_pauses")


def restart_store(trial: Trial) -> None:
    line = trial.site.fault("store restarts")
    trial.site.server.kill()
    trial.sleep(trial.choose.uniform(0.2, 1.0))
    trial.site.server.start()
    trial.site.healed(line)
    trial.count("store_restarts")


def overlap(trial: Trial) -> None:
    """F5 F6 F7: guarded runs of five leases under kills and pauses of workers and restarts of the store."""
    faults = [kill, long_pause, short_pause, kill, store] * trial.times(2, 30)
    trial.choose.shuffle(faults)
    for fault in faults:
        trial.sleep(trial.choose.uniform(2, 7))
        fault(trial, trial.choose.choice(trial.site.workers))
    trial.sleep(6)


def long_pause(trial: Trial, worker: Member) -> None:
    pause(trial, worker, 3 * trial.site.setup.run_lease)


def short_pause(trial: Trial, worker: Member) -> None:
    pause(trial, worker, trial.site.setup.run_lease / 2)


def store(trial: Trial, _: Member) -> None:
    restart_store(trial)


def paused_past_its_lease(trial: Trial) -> None:
    """F6: each worker in turn is away for three leases in the middle of its runs."""
    for number in range(trial.times(3, 20)):
        trial.sleep(trial.choose.uniform(3, 6))
        long_pause(trial, trial.site.workers[number % len(trial.site.workers)])
    trial.sleep(6)


def kills(trial: Trial) -> None:
    """F7: kill -9 of a worker's main process in the middle of runs and commands."""
    for _ in range(trial.times(10, 60)):
        trial.sleep(trial.choose.uniform(1, 6))
        kill(trial, trial.choose.choice(trial.site.workers))
    trial.sleep(6)


def backlog(trial: Trial) -> None:
    """F8: no worker for three lock times, then many at once."""
    site = trial.site
    for _ in range(trial.times(1, 6)):
        line = site.fault("no workers")
        for worker in site.workers:
            site.hold(worker)
            site.strike(worker, signal.SIGTERM, 0)
        trial.sleep(13)
        for worker in site.workers:
            site.hold(worker, False)
        more = [site.add("worker", 10 + number) for number in range(4)]
        for worker in site.workers:
            worker.process.wait_for(r"ready\.", 60)
        trial.sleep(8)
        site.healed(line)
        for worker in more:
            site.strike(worker, signal.SIGTERM, 0)
            site.hold(worker)


def redelivery(trial: Trial) -> None:
    """F10: the broker gives unacknowledged messages to somebody else long before their runs end."""
    trial.sleep(25)
    for _ in range(trial.times(1, 12)):
        kill(trial, trial.choose.choice(trial.site.workers))
        trial.sleep(20)


LONG = Setup(
    workload="long",
    concurrency=4,
    # What dies with a message that is acknowledged late is redelivered after this.
    settings={"broker_transport_options": {"visibility_timeout": 20}},
)

SCENARIOS = (
    Scenario(
        name="overlap",
        faults="F5",
        told="guarded runs of five leases while workers die and pause and the store restarts",
        setup=LONG,
        act=overlap,
        hurt=True,
        noisy=True,
        recovery=9.0,
        seconds=150,
    ),
    Scenario(
        name="worker-pause",
        faults="F6",
        told="workers paused for three leases in their runs",
        setup=LONG,
        act=paused_past_its_lease,
        hurt=True,
        noisy=True,
        recovery=9.0,
        seconds=100,
    ),
    Scenario(
        name="worker-kill",
        faults="F7",
        told="kill -9 of workers in their runs",
        setup=LONG,
        act=kills,
        hurt=True,
        noisy=True,
        recovery=9.0,
        seconds=100,
    ),
    Scenario(
        name="backlog",
        faults="F8",
        told="no worker for three lock times, then six at once",
        setup=Setup(workload="queued", settings={"legion_lock_ttl": 4}),
        act=backlog,
        hurt=True,
        noisy=True,
        recovery=9.0,
        seconds=70,
    ),
    Scenario(
        name="redelivery",
        faults="F10",
        told="visibility timeout of 5 s, runs of 15 s",
        setup=Setup(workload="long", concurrency=4, settings={"broker_transport_options": {"visibility_timeout": 5}}),
        act=redelivery,
        hurt=True,
        noisy=True,
        recovery=15.0,
        seconds=90,
    ),
)
