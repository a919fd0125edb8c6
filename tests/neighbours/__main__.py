"""Visit neighbours and tell what was found: ``python -m tests.neighbours [--lanes N] [--install] [NAME…]``."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from tests.neighbours import environments
from tests.neighbours.street import NEIGHBOURS, Finding, Neighbour, named, visit

TOLD = "Run a small app beside each package that Celery users really have, and tell what is wrong there."
LONGEST = 300
"""Seconds after which a visit is ended, its environment's making left aside."""

running: set[subprocess.Popen[str]] = set()


def main(argv: Sequence[str] | None = None) -> int:
    """Visit what was asked for; exit code 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.neighbours", description=TOLD)
    known = [one.name for one in NEIGHBOURS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(known)} (default: all)")
    parser.add_argument("--lanes", type=int, default=2, help="visits at a time (default 2)")
    parser.add_argument("--install", nargs="*", metavar="ENVIRONMENT", help="only make environments, all or these")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep logs and ledgers under this folder")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    told = parser.parse_args(argv)
    if unknown := sorted(set(told.names) - set(known)):
        parser.error(f"no such neighbour: {', '.join(unknown)}; there are {', '.join(known)}")
    if told.install is not None:
        for name in told.install or environments.names():
            environments.ready(name)
        return 0
    chosen = [named(name) for name in told.names] or list(NEIGHBOURS)
    if told.alone:
        print(json.dumps(asdict(visit(chosen[0], told.keep))), flush=True)
        return 0
    began = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    findings: list[Finding] = []
    with ThreadPoolExecutor(told.lanes) as lanes:
        try:
            # The longest first, so that no lane is left with one of them at the end.
            ordered = sorted(chosen, key=lambda one: -one.seconds)
            for finding in lanes.map(lambda one: in_a_process(one, told.keep), ordered):
                findings.append(finding)
        except KeyboardInterrupt:
            lanes.shutdown(wait=False, cancel_futures=True)
            for process in list(running):
                process.send_signal(signal.SIGINT)
            print("interrupted: what was started is being ended", file=sys.stderr, flush=True)
            return 130
    print(summary(findings, time.monotonic() - began), flush=True)
    return int(any(finding.wrong for finding in findings))


def in_a_process(neighbour: Neighbour, keep: Path | None) -> Finding:
    """Visit *neighbour* in a process of its own, print what was found, and return it; one that hangs is killed."""
    began = time.monotonic()
    try:
        environments.ready(neighbour.environment)
    except Exception as exc:
        finding = Finding(name=neighbour.name, wrong=[str(exc)], notes=[], seconds=time.monotonic() - began)
        print(line(finding), flush=True)
        return finding
    argv = [sys.executable, "-m", "tests.neighbours", "--alone", neighbour.name, *([f"--keep={keep}"] if keep else [])]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    running.add(process)
    try:
        out, err = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
    finally:
        running.discard(process)
    try:
        finding = Finding(**json.loads(out.strip().rpartition("\n")[2]))
    except (ValueError, TypeError):
        wrong = [f"the visit did not come to its end: {err[-1500:]}"]
        finding = Finding(name=neighbour.name, wrong=wrong, notes=[], seconds=time.monotonic() - began)
    print(line(finding), flush=True)
    return finding


def line(finding: Finding) -> str:
    """Return a visit's line, and one for each thing that is wrong."""
    verdict = "WRONG" if finding.wrong else "left out" if finding.absent else "right"
    head = f"{verdict:9}{finding.name:24}{finding.seconds:>5.0f} s  "
    said = "; ".join(finding.notes).replace("; \n", "\n") or finding.absent
    return "\n".join((head + said, *(f"         - {one}" for one in finding.wrong)))


def summary(findings: Sequence[Finding], seconds: float) -> str:
    """Return the last line."""
    wrong = [finding.name for finding in findings if finding.wrong]
    absent = [finding.name for finding in findings if finding.absent]
    found = f"wrong beside {len(wrong)}: {', '.join(wrong)}" if wrong else "nothing is wrong"
    left_out = f"; left out: {', '.join(absent)}" if absent else ""
    return f"{len(findings)} visits in {seconds / 60:.1f} minutes: {found}{left_out}"


if __name__ == "__main__":
    sys.exit(main())
