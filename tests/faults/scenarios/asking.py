"""One-shots and pushes: what several hosts ask for at once, and what is asked again since no answer came."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import uuid4

from celery_legion.errors import StoreError
from celery_legion.stores import open_store
from celery_legion.stores.base import Request, StoreOptions
from tests.faults.notebook import TASKS, Notebook
from tests.faults.scenario import Scenario, Trial
from tests.faults.site import Doors, Setup
from tests.servers.processes import Process

CODES = {0, -signal.SIGKILL}


def one_shots(trial: Trial) -> dict[str, Any]:
    """F9: two hosts run the schedule in the same second, half a second apart or less; now and then one is killed."""
    site = trial.site
    codes: Counter[int] = Counter()
    line = site.fault("nobody leads")
    for number in range(trial.times(12, 200)):
        pair = [_one_shot(trial), _one_shot(trial)]
        if number % 4 == 3:
            trial.sleep(trial.choose.uniform(0.6, 1.6))
            pair[0].signal(signal.SIGKILL)
            trial.count("kills")
        codes.update(process.wait(60) for process in pair)
        trial.count("pairs")
    # What the last of them left is taken for stuck after a while, and sent by one more, which nobody kills.
    trial.sleep(8)
    codes[_one_shot(trial).wait(60)] += 1
    site.healed(line)
    records = [record for job in site.setup.jobs for record in site.store.runs(job.name, 10_000)]
    site.since = min(round(record.fire_time.timestamp() * 1000) for record in records) - 1
    site.until = max(round(record.last_fire_time.timestamp() * 1000) for record in records)
    wrong = [f"{count} ended with {code}" for code, count in codes.items() if code not in CODES]
    return {"exit_codes": {str(code): count for code, count in codes.items()}, "breaches": {"liveness": wrong}}


def _one_shot(trial: Trial) -> Process:
    site = trial.site
    trial.sleep(trial.choose.uniform(0, 0.5))
    return site.processes.celery("tests.faults.app", "legion", "run", name="run", env=site.environment())


def pushes(trial: Trial) -> dict[str, Any]:
    """F22: the same pushes from ten clients, whose connections break between the request and its answer."""
    site = trial.site
    job = site.setup.jobs[0].name
    ids = [str(uuid4()) for _ in range(trial.times(10, 100))]
    body = f'{{"job": "{job}"}}'
    line = site.fault("connections of pushes break")
    threads = [threading.Thread(target=_push, args=(trial, ids, body, number)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    site.healed(line)

    def ran() -> Counter[str]:
        rows = Notebook(site.folder / TASKS).read()
        return Counter(row["id"] for row in rows if row["event"] == "start" and row["id"] in ids)

    site.eventually(lambda: len(ran()) == len(ids), 30, "every push runs")
    time.sleep(2)
    times = ran()
    twice = [f"push {one}: executed {times[one]} times" for one in ids if times[one] > 1]
    lost = [f"push {one}: never executed" for one in ids if not times[one]]
    aside = [f"push {one.request.id} put aside: {one.why}" for one in site.store.asides(100)]
    return {"pushed": len(ids), "breaches": {"executed_twice": twice, "lost": lost + aside}}


def _push(trial: Trial, ids: list[str], body: str, number: int) -> None:
    """Push every id ten times, each time on a way that breaks before the answer."""
    site = trial.site
    doors = Doors(("127.0.0.1", site.broker.port), ("127.0.0.1", site.server.port))
    url = site.server.url(1).replace(f":{site.server.port}/", f":{doors.store.port}/")
    try:
        for turn in range(10):
            for one in ids:
                store = open_store(StoreOptions(url=url, prefix="faults", timeout=timedelta(seconds=1)))
                broken = doors.store.reset_after_request(one.encode()) if (turn + number) % 3 else None
                try:
                    store.push(Request(id=one, body=body))
                except StoreError:
                    trial.count("pushes_failed")
                finally:
                    store.close()
                if broken is not None and broken.is_set():
                    trial.count("answers_lost")
    finally:
        doors.close()


SCENARIOS = (
    Scenario(
        name="one-shots",
        faults="F9",
        told="pairs of run in the same second, some killed",
        setup=Setup(workload="brief", beats=0, settings={"legion_run_lease": 20}),
        act=one_shots,
        recovery=2.0,
        seconds=80,
    ),
    Scenario(
        name="pushes",
        faults="F22",
        told="the same pushes from ten clients, answers lost",
        setup=Setup(workload="brief"),
        act=pushes,
        seconds=40,
    ),
)
