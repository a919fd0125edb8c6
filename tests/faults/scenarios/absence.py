"""Nobody schedules for minutes, hours and a month; what is made up for afterwards is the policy's to say."""

from __future__ import annotations

import signal
import time
from collections import Counter
from typing import Any

import redis

from celery_legion.run import State
from tests.faults.scenario import Scenario, Trial
from tests.faults.setup import Setup
from tests.servers.polling import eventually

MARKS = "{faults}:marks"
MINUTE = 60_000
SPANS = {"10m": 10, "2h": 120, "30d": 30 * 1440}
"""Minutes without a scheduler, by the end of a job's name."""

LIMIT, WINDOW = 100, 1440
"""Most runs that ``all`` makes up for, and the window in minutes: the defaults."""


def absence(trial: Trial) -> dict[str, Any]:
    """F16: all beats are gone; the store's marks are moved back by as long as they were."""
    site = trial.site
    server = redis.Redis.from_url(site.server.url(1), decode_responses=True)
    eventually(lambda: len(server.hgetall(MARKS)) == len(site.setup.jobs), 20, "every job has been seen")
    for beat in site.beats:
        site.hold(beat)
        site.strike(beat, signal.SIGTERM, 0)
    eventually(lambda: not any(beat.process.alive for beat in site.beats), 20, "the beats are gone")
    # Well inside a minute, so that it is known which fires are in the past.
    time.sleep(max(0.0, 2 - time.time() % 60))
    now = int(time.time() * 1000)
    marks = {}
    for job in site.setup.jobs:
        span = SPANS[job.name.rpartition("-")[2]]
        marks[job.name] = now // MINUTE * MINUTE - span * MINUTE
        _, *rest = server.hget(MARKS, job.name).split("|")
        server.hset(MARKS, job.name, "|".join([str(marks[job.name]), *rest]))
    line = site.fault("nobody schedules", spans=list(SPANS))
    began = time.time()
    for beat in site.beats:
        site.hold(beat, False)
    eventually(lambda: all(sum(_accounted(trial, name)) >= _due(mark) for name, mark in marks.items()), 60, "all fires")
    time.sleep(3)
    site.healed(line)
    told, wrong = {}, []
    for name, mark in marks.items():
        runs, lapsed = _accounted(trial, name)
        due = _due(mark)
        # A minute may have turned meanwhile; its fire is a run like any other.
        turned = int(time.time() // 60 - began // 60)
        told[name] = {"runs": runs, "missed": lapsed, "due": due}
        policy, span = name.rpartition("-")[0], SPANS[name.rpartition("-")[2]]
        wanted = {"once": 1, "all": min(LIMIT, WINDOW, span), "skip": 0}[policy]
        if runs + lapsed != due or not wanted <= runs <= wanted + turned + (policy == "skip"):
            wrong.append(f"{name}: {told[name]}, wanted {wanted} runs")
    sent = Counter(row.id for row in site.tap.rows) if site.tap is not None else Counter[str]()
    wrong += [f"run {one}: {count} messages" for one, count in sent.items() if count > 1]
    site.since = int(began * 1000)
    return {"made_up": told, "breaches": {"lost": wrong}}


def _due(mark: int) -> int:
    """Return how many fires lie after *mark* (ms) and up to now."""
    return (int(time.time() * 1000) // MINUTE * MINUTE - mark) // MINUTE


def _accounted(trial: Trial, name: str) -> tuple[int, int]:
    """Return how many fires of a job became runs, and how many are recorded as missed."""
    records = trial.site.store.runs(name, 1000)
    missed = sum(record.count for record in records if record.state is State.MISSED)
    skipped = sum(record.count for record in records if record.state is State.SKIPPED)
    return sum(record.id is not None and record.state is not State.SKIPPED for record in records), missed + skipped


SCENARIOS = (
    Scenario(
        name="catch-up",
        faults="F16",
        told="no scheduler for ten minutes, two hours, thirty days",
        setup=Setup(workload="absent"),
        act=absence,
        seconds=60,
        recovery=8.0,
    ),
)
