"""Run scenarios and print one JSON row each: ``python -m tests.faults [--full] [--seed N] [--lanes N] [NAME…]``."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults import summary
from tests.faults.scenario import Scenario, run
from tests.faults.scenarios import SCENARIOS

TOLD = "Break schedulers, workers, brokers, stores and clocks on purpose, and count what was lost, doubled or late."
WORDS = """A JSON row a scenario goes to standard output, words to standard error; the exit code is 1 if a promise
was broken. A slot is a fire that arithmetic expects; copies are further messages of one run, which workers must drop;
stale_epoch counts claims of deposed leaders, a phantom is a run of no slot, residue is what is left in the store when
all is over."""

PATIENCE = 3
"""How many times its usual seconds a scenario may take."""

running: set[subprocess.Popen[str]] = set()


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for; exit code 1 if an invariant was broken or a scenario did not come to its end."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=TOLD, epilog=WORDS)
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios or faults, such as kill-aimed or F13")
    parser.add_argument("--full", action="store_true", help="the long forms: hours")
    parser.add_argument("--seed", type=int, default=1, help="another number makes other choices (default 1)")
    parser.add_argument("--lanes", type=int, default=3, help="scenarios at a time (default 3)")
    parser.add_argument("--list", action="store_true", help="only say what there is")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep logs and notes under this folder")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    told = parser.parse_args(argv)
    if told.list:
        for one in select(told.names) if told.names else SCENARIOS:
            print(
                f"{one.name:22}{one.faults:10}{one.seconds:>5} s  {one.told}{' (only when named)' if one.named else ''}"
            )
        return 0
    chosen = select(told.names)
    if told.alone:
        with _folder(told.keep, chosen[0].name) as folder:
            print(json.dumps(run(chosen[0], told.seed, told.full, folder)), flush=True)
        return 0
    began = time.monotonic()
    rows = []
    # The longest first, so that no lane is left with one of them at the end.
    ordered = sorted(chosen, key=lambda one: -one.seconds)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ThreadPoolExecutor(told.lanes) as lanes:
        try:
            for row in lanes.map(lambda one: in_a_process(one, told), ordered):
                rows.append(row)
        except KeyboardInterrupt:
            lanes.shutdown(wait=False, cancel_futures=True)
            # Each in a session of its own: it ends its servers and schedulers before itself.
            for process in list(running):
                process.send_signal(signal.SIGINT)
            print("interrupted: what was started is being ended", file=sys.stderr, flush=True)
            return 130
    print("\n" + summary.render(rows, time.monotonic() - began), file=sys.stderr, flush=True)
    return int(any(summary.failed(row) for row in rows))


def select(names: Sequence[str]) -> list[Scenario]:
    """Return the scenarios of these names or faults; all but those that want to be named if there is none."""
    if not names:
        return [one for one in SCENARIOS if not one.named]
    words = {one.name: {one.name, re.sub(r"-\d+$", "", one.name), *one.faults.split()} for one in SCENARIOS}
    chosen = [one for one in SCENARIOS if words[one.name] & set(names)]
    known = set[str]().union(*words.values())
    if unknown := set(names) - known:
        sys.exit(f"no such scenario: {', '.join(sorted(unknown))}; --list says what there is")
    return chosen


def in_a_process(scenario: Scenario, told: argparse.Namespace) -> dict[str, Any]:
    """Run *scenario* in a process of its own, print its row, and return it; one that hangs is killed."""
    print(f"begins: {scenario.name} ({scenario.faults}: {scenario.told})", file=sys.stderr, flush=True)
    argv = [sys.executable, "-m", "tests.faults", "--alone", f"--seed={told.seed}", scenario.name]
    argv += ["--full"] if told.full else []
    argv += [f"--keep={told.keep}"] if told.keep else []
    limit = scenario.seconds * PATIENCE * (12 if told.full else 1) + 60
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    running.add(process)
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
    finally:
        running.discard(process)
    try:
        row: dict[str, Any] = json.loads(out.strip().rpartition("\n")[2])
    except ValueError:
        row = {"scenario": scenario.name, "faults": scenario.faults, "seed": told.seed, "error": err[-3000:]}
    print(json.dumps(row), flush=True)
    print(summary.line(row), file=sys.stderr, flush=True)
    return row


@contextmanager
def _folder(keep: Path | None, name: str) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="legion-faults-") as folder:
            yield Path(folder)
        return
    folder = keep / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder


if __name__ == "__main__":
    sys.exit(main())
