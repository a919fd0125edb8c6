"""Faults of schedules and of time: broken jobs, rolling deploys with live changes, a crowd, a suspended machine."""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import redis

from celery_legion.stores.base import Pause
from tests.faults.broken import QUEUE
from tests.faults.scenario import Scenario, Trial
from tests.faults.site import Setup
from tests.faults.unwilling import expected
from tests.worker.survivors import descendants


def broken_jobs(trial: Trial) -> dict[str, Any]:
    """F18: jobs that raise, are missing, or that the broker refuses, beside sound ones."""
    site = trial.site
    rabbitmq = site.rabbit is not None
    if not rabbitmq:
        redis.Redis.from_url(site.broker.url(0)).set(QUEUE, "not a list")
    trial.sleep(trial.times(20, 120))
    allowed = expected(rabbitmq)
    silent = ["missing-task", "unserialisable", "refused-queue", "lazy-arguments", "raising-condition", *allowed]

    def outcomes(name: str, which: slice) -> set[str]:
        return {f"{one.state.value}({one.reason})" for one in site.store.runs(name, 100)[which]}

    told = {name: sorted(outcomes(name, slice(None))) for name in silent}
    blamed = re.compile(r"cannot be reached|pass failed|left out until", re.MULTILINE)
    return {
        "broken_jobs": told,
        "breaches": {
            "liveness": [f"{name} has no record" for name, found in told.items() if not found],
            # The newest may still be on its way.
            "outcomes": [
                f"{name}: {told[name]}"
                for name, those in allowed.items()
                if not those >= outcomes(name, slice(1, None))
            ],
            "blamed": [
                line[:300]
                for beat in site.beats
                for line in beat.process.output.splitlines()
                # That of the trigger that cannot count is another story.
                if blamed.search(line) and "raising-" not in line
            ],
        },
    }


def rolling_deploy(trial: Trial) -> None:
    """F20: beats are replaced one by one by those of another version, while jobs are paused and resumed."""
    site = trial.site
    for number in range(trial.times(9, 60)):
        beat = site.beats[number % len(site.beats)]
        workload = "calm" if number // len(site.beats) % 2 else "next"
        line = site.fault("deploy", pid=beat.pid, workload=workload)
        site.replace(beat, workload)
        site.stand_by(len(site.beats))
        site.healed(line)
        trial.count("deploys")
        name = trial.choose.choice(site.setup.jobs).name
        line = site.fault("paused", job=name)
        site.store.pause(Pause(name=name, since=datetime.now(UTC), note="meanwhile"))
        trial.sleep(trial.choose.uniform(0.2, 1.5))
        site.store.resume(name)
        site.healed(line)
        trial.sleep(trial.choose.uniform(0, 0.7))


def crowd(trial: Trial) -> None:
    """F21: ten thousand fires at one instant; however slow the machine is, all are claimed before the next."""
    tap = trial.site.tap
    assert tap is not None
    for _ in range(trial.times(1, 4)):
        time.sleep(-time.time() % 60)
        before, until = len(tap.rows), time.monotonic() + 50
        while len(tap.rows) < before + len(trial.site.setup.jobs) and time.monotonic() < until:
            time.sleep(0.5)


def suspend(trial: Trial) -> None:
    """F17: the whole machine is suspended: beats, workers and servers stop together and go on together."""
    site = trial.site
    for _ in range(trial.times(3, 10)):
        trial.sleep(trial.choose.uniform(2, 4))
        family = [site.server.pid, site.broker.pid]
        for member in site.members:
            family += [member.pid, *descendants(member.pid)]
        line = site.fault("suspended")
        _send(family, signal.SIGSTOP)
        trial.sleep(trial.choose.uniform(4, 8) if not trial.full else trial.choose.uniform(10, 300))
        _send(family, signal.SIGCONT)
        site.healed(line)
        trial.count("suspends")
        trial.sleep(3)


def _send(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


SCENARIOS = (
    Scenario(
        name="suspend",
        faults="F17",
        told="the whole machine suspended",
        setup=Setup(workload="calm"),
        act=suspend,
        hurt=True,
        noisy=True,
        recovery=7.0,
        seconds=60,
    ),
    Scenario(
        name="broken-jobs",
        faults="F18",
        told="jobs that raise, are missing, or are refused",
        setup=Setup(workload="broken"),
        act=broken_jobs,
        noisy=True,
        seconds=50,
    ),
    Scenario(
        name="broken-jobs-rabbitmq",
        faults="F18",
        told="jobs that raise, or that a RabbitMQ nacks or returns",
        # Nobody takes anything out of the full queue.
        setup=Setup(workload="broken", rabbitmq=True, worker_options=("-Q", "celery")),
        act=broken_jobs,
        noisy=True,
        seconds=60,
    ),
    Scenario(
        name="rolling-deploy",
        faults="F20",
        told="beats replaced one by one while jobs are changed",
        setup=Setup(workload="calm"),
        act=rolling_deploy,
        recovery=5.0,
        seconds=70,
    ),
    Scenario(
        name="crowd",
        faults="F21",
        told="10 000 fires at one instant",
        setup=Setup(workload="crowd", lease=10.0, run_lease=60.0, beats=3),
        act=crowd,
        recovery=2.0,
        seconds=110,
    ),
)
