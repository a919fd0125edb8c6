"""Two crontabs: pairs of ``celery legion run`` in the same moment, and one execution of each fire.

``python -m benchmarks.runs --pairs 100`` takes about nine minutes.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks import SPACING
from celery_legion.embedded import EmbeddedValkey
from celery_legion.run import State
from tests.servers.processes import Process, Processes

MIDDLE, SPREAD = 1.0, 0.5
"""A process of a pair starts this many seconds after the fire, give or take as many.

It reads the clock up to a second after its start, so all of that lies well between two fires.
"""

ALLOWANCE = 0.2
"""A process that ends within so many seconds before the next fire may have read the clock after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One pair: the fire it was for, when its last process had ended, and how many runs the two say they sent."""

    fire: float
    ended: float
    sent: tuple[int, ...]

    @property
    def clean(self) -> bool:
        """Whether both were over before the next fire, so that exactly one fire was due to them."""
        return self.ended < self.fire + SPACING - ALLOWANCE


def start_pair(processes: Processes, env: dict[str, str], dice: random.Random) -> Pair:
    """Start two processes for the next fire, wait until both have ended, and return what they said.

    Raises:
        click.ClickException: One has failed.
    """
    fire = (time.time() // SPACING + 1) * SPACING
    pair: list[Process] = []
    for moment in sorted(fire + MIDDLE + dice.uniform(-SPREAD, SPREAD) for _ in range(2)):
        time.sleep(max(0.0, moment - time.time()))
        pair.append(processes.celery("benchmarks.app", "legion", "run", "--json", name="run", env=env))
    sent = []
    for process in pair:
        code = process.wait(30)
        said = re.search(r'"sent": (\d+)', process.output)
        if code or said is None:
            raise click.ClickException(f"a run ended with {code}: {process.output[-500:]}")
        sent.append(int(said[1]))
    return Pair(fire=fire, ended=time.time(), sent=tuple(sent))


def executions(file: Path) -> list[dict[str, Any]]:
    """Return what the worker wrote."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def judge(pairs: list[Pair], done: list[dict[str, Any]], records: list[Any]) -> list[str]:
    """Return what is wrong; nothing is if each clean pair made one execution, in one record of the ledger."""
    wrong = []
    by_fire = Counter(round(execution["fire"]) for execution in done)
    by_id = Counter(execution["id"] for execution in done)
    for pair in pairs:
        if pair.clean and by_fire[round(pair.fire)] != 1:
            wrong.append(f"the fire at {pair.fire:.0f} was executed {by_fire[round(pair.fire)]} times")
        if pair.clean and sum(pair.sent) != 1:
            wrong.append(f"the pair at {pair.fire:.0f} says that it sent {pair.sent}")
    clean = {round(pair.fire) for pair in pairs if pair.clean}
    wrong += [
        f"the fire at {fire} was executed {n} times" for fire, n in by_fire.items() if n > 1 and fire not in clean
    ]
    wrong += [f"run {run_id} was executed {times} times" for run_id, times in by_id.items() if times > 1]
    ended = Counter(record.id for record in records if record.state is State.SUCCEEDED)
    if ended != by_id:
        odd = sorted(str(name) for name in (ended - by_id) + (by_id - ended))
        wrong.append(f"ledger and file differ on {', '.join(odd)}")
    # Each fire between the first and the last in exactly one record: the records' stretches join without a gap.
    stretches = sorted((record.fire_time, record.last_fire_time, record.count) for record in records)
    for (first, last, count), following in zip(stretches, [*stretches[1:], None], strict=True):
        if (last - first).total_seconds() / SPACING + 1 != count:
            wrong.append(f"a record from {first} to {last} counts {count} fires")
        if following is not None and (following[0] - last).total_seconds() != SPACING:
            wrong.append(f"between the records of {last} and {following[0]} fires are missing or in two")
    return wrong


def run(count: int, seed: int) -> tuple[list[Pair], list[dict[str, Any]], list[Any]]:
    """Run pairs until *count* clean ones are there; return all, what was executed, and the ledger.

    Raises:
        click.ClickException: The machine is too slow to tell.
    """
    dice = random.Random(seed)
    pairs: list[Pair] = []
    with tempfile.TemporaryDirectory(prefix="legion-bench-") as name, EmbeddedValkey() as server:
        folder = Path(name)
        file = folder / "executions.jsonl"
        env = {"BENCH_BROKER": server.url(), "BENCH_FILE": str(file), "BENCH_JOBS": "paired"}
        os.environ.update(env)
        processes = Processes(folder)
        try:
            processes.worker("benchmarks.app", "-c", "2", env=env)
            while sum(pair.clean for pair in pairs) < count:
                pairs.append(start_pair(processes, env, dice))
                if len(pairs) % 10 == 0:
                    click.echo(f"  {len(pairs)} pairs, {len(executions(file))} executions", err=True)
                if sum(not pair.clean for pair in pairs) > 3 + count // 4:
                    raise click.ClickException("processes end too late here, after the next fire: nothing is found")
            return pairs, *_settle(file)
        finally:
            processes.end()


def _settle(file: Path) -> tuple[list[dict[str, Any]], list[Any]]:
    """Wait until nothing is open any more, and a moment for what should not come."""
    from benchmarks.app import app
    from celery_legion.context import Context

    store = Context.of(app).store
    deadline = time.monotonic() + 10
    while any(record.state in (State.CLAIMED, State.SENT, State.RUNNING) for record in store.runs("paired", 10_000)):
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    time.sleep(1)
    return executions(file), store.runs("paired", 10_000)


@click.command()
@click.option("--pairs", type=click.IntRange(1, 1000), default=100, show_default=True, help="Five seconds each.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(pairs: int, seed: int, as_json: bool) -> None:
    """Count what pairs of `legion run` execute, from two crontabs within half a second of the same moment."""
    found, done, records = run(pairs, seed)
    wrong = judge(found, done, records)
    clean = {round(pair.fire) for pair in found if pair.clean}
    executed = sum(round(execution["fire"]) in clean for execution in done)
    slow = len(found) - len(clean)
    good = executed == pairs and not wrong
    if as_json:
        data = {"pairs": pairs, "executions": executed, "records": len(records), "slow_pairs": slow, "wrong": wrong}
        click.echo(json.dumps({**data, "ok": good}, indent=2))
        sys.exit(0 if good else 1)
    for sentence in wrong:
        click.echo(f"  {sentence}")
    if slow:
        click.echo(f"  {slow} more pairs went past the next fire; they are looked at for doubles only")
    verdict = "none lost, none doubled, each in one record of the ledger" if good else "NOT AS PROMISED"
    click.echo(f"runs: {pairs} pairs within ±{SPREAD * 1000:.0f} ms: {executed} executions, {verdict}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
