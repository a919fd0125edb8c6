"""How long a push takes until its message is in the broker: ``python -m benchmarks.push``."""

from __future__ import annotations

import json
import math
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
from redis import Redis

from celery_legion.embedded import EmbeddedValkey
from tests.servers.processes import Processes

BUDGET = {"p50": 3.0, "p99": 10.0}
"""Milliseconds from a push to its message in the broker."""

LOST_AFTER = 5.0
WARM_UP = 5
PAUSES = (0.005, 0.060)
"""Seconds between two pushes, at random: from while the scheduler is busy to long after it sleeps again."""

Push = Callable[[str], None]


class Watcher(threading.Thread):
    """Takes each message out of the broker's queue the moment it is there, and remembers when that was."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.seen: dict[str, float] = {}
        self.arrived = threading.Condition()
        self._client: Any = Redis.from_url(url)
        self._over = False

    def run(self) -> None:
        """Watch until :meth:`close`."""
        while not self._over:
            popped = self._client.brpop("celery", timeout=1)
            moment = time.perf_counter()
            if popped is None:
                continue
            run_id = json.loads(popped[1])["headers"]["id"]
            with self.arrived:
                self.seen.setdefault(run_id, moment)
                self.arrived.notify_all()

    def wait_for(self, run_id: str) -> float:
        """Return the moment at which that message was seen.

        Raises:
            click.ClickException: It has not come.
        """
        with self.arrived:
            if not self.arrived.wait_for(lambda: run_id in self.seen, LOST_AFTER):
                raise click.ClickException(f"the message of push {run_id} was not in the broker after {LOST_AFTER:g} s")
            return self.seen[run_id]

    def close(self) -> None:
        """Stop watching."""
        self._over = True
        self.join(3)


def measure(push: Push, watcher: Watcher, count: int, dice: random.Random) -> list[float]:
    """Push one after the other; return the milliseconds of each."""
    times = []
    for _ in range(count):
        time.sleep(dice.uniform(*PAUSES))
        run_id = str(uuid4())
        began = time.perf_counter()
        push(run_id)
        times.append((watcher.wait_for(run_id) - began) * 1000)
    return times


def ways(url: str) -> Mapping[str, Push]:
    """Return the ways of pushing, and what to hold them against."""
    from benchmarks.app import app
    from celery_legion.context import Context
    from celery_legion.stores.base import Request

    store, prefix = Context.of(app).store, f"{{{Context.of(app).config.key_prefix}}}"
    client: Any = Redis.from_url(url)

    def by_store(run_id: str) -> None:
        store.push(Request(id=run_id, body=json.dumps({"job": "pushed", "id": run_id})))

    def by_hand(run_id: str) -> None:
        client.lpush(f"{prefix}:inbox", json.dumps({"job": "pushed", "id": run_id}))
        client.publish(f"{prefix}:wake", "push")

    def by_celery(run_id: str) -> None:
        app.send_task("bench.nothing", task_id=run_id)

    def bare(run_id: str) -> None:
        client.lpush("celery", json.dumps({"headers": {"id": run_id}}))

    return {
        "store.push": by_store,
        "LPUSH and PUBLISH, as redis-cli would": by_hand,
        "app.send_task, past the scheduler": by_celery,
        "LPUSH onto the queue: the watcher alone": bare,
    }


PUSHES = 2
"""How many of the ways go through the scheduler."""


def summary(times: Sequence[float]) -> dict[str, float]:
    """Return percentiles by the nearest rank."""
    ranked = sorted(times)

    def percentile(share: float) -> float:
        return round(ranked[max(0, math.ceil(len(ranked) * share) - 1)], 3)

    return {"p50": percentile(0.5), "p90": percentile(0.9), "p99": percentile(0.99), "max": round(ranked[-1], 3)}


def run(count: int, seed: int) -> dict[str, Any]:
    """Measure each way against one beat without a worker."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="legion-bench-") as folder, EmbeddedValkey() as server:
        os.environ["BENCH_BROKER"] = server.url()
        processes, watcher = Processes(Path(folder)), Watcher(server.url())
        watcher.start()
        try:
            processes.beat("benchmarks.app").wait_for("leads with epoch")
            dice = random.Random(seed)
            for name, push in ways(server.url()).items():
                first = measure(push, watcher, 1, dice)[0]
                measure(push, watcher, WARM_UP, dice)
                results[name] = {**summary(measure(push, watcher, count, dice)), "first": round(first, 3)}
        finally:
            processes.end()
            watcher.close()
    pushes = list(results.values())[:PUSHES]
    within = all(found[rank] < limit for found in pushes for rank, limit in BUDGET.items())
    load = [round(part, 2) for part in os.getloadavg()]
    return {"count": count, "milliseconds": results, "budget": BUDGET, "within_budget": within, "load": load}


@click.command()
@click.option("--count", type=click.IntRange(10, 400), default=200, show_default=True, help="Pushes of each way.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(count: int, seed: int, as_json: bool) -> None:
    """Time pushes until their messages are in the broker. Takes less than a minute."""
    found = run(count, seed)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"push → message in the broker, {count} of each, one after the other; milliseconds\n")
    click.echo(f"  {'':<40}{'p50':>8}{'p90':>8}{'p99':>8}{'max':>8}{'first':>8}")
    for name, row in found["milliseconds"].items():
        click.echo(f"  {name:<40}" + "".join(f"{row[rank]:>8.2f}" for rank in ("p50", "p90", "p99", "max", "first")))
    click.echo(f"  {'budget of a push':<40}{BUDGET['p50']:>8.2f}{'':>8}{BUDGET['p99']:>8.2f}")
    click.echo(
        "\nfirst: the very first one of its way, not among the others. RedBeat is left out: it is not installed here."
    )
    verdict = "within the budget" if found["within_budget"] else "OVER THE BUDGET"
    click.echo(f"push: {verdict} (load of the machine {found['load'][0]:.2f} on {os.cpu_count()} processors)")


if __name__ == "__main__":
    main()
