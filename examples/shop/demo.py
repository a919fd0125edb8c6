"""The main job, visibly: beat and a worker on the shop for twenty seconds, then what the ledger says of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

SECONDS = 20
EXAMPLES = Path(__file__).resolve().parent.parent
PATIENCE = 10
"""Seconds a process gets to end by itself."""


def broker(stack: ExitStack) -> str:
    """Return the broker's URL: the one given, a Redis on this machine, or a Valkey started for the demo."""
    if given := os.environ.get("SHOP_BROKER"):
        return given
    local = "redis://localhost:6379/15"
    parts = urlsplit(local)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=0.3).close()
    except OSError:
        from celery_legion.embedded import EmbeddedValkey

        server = stack.enter_context(EmbeddedValkey())
        print("no Redis here: an embedded Valkey serves the demo and goes with it")
        return server.url()
    print(f"using the Redis at {parts.hostname}:{parts.port}, database 15")
    return local


def start(stack: ExitStack, *argv: str) -> subprocess.Popen[bytes]:
    """Start ``celery -A shop …`` and see to its end."""
    process = subprocess.Popen([sys.executable, "-m", "celery", "-A", "shop", *argv], cwd=EXAMPLES)
    stack.callback(stop, process)
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process: politely, then not."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def summarize() -> bool:
    """Print what the ledger holds; return whether every kind of job ran and the overlap was skipped."""
    from celery_legion.context import Context
    from shop import app

    context = Context.of(app)
    runs: Counter[tuple[str, str]] = Counter()
    for record in context.store.runs(None, 1000):
        words = record.state.value + (f" ({record.reason})" if record.reason else "")
        runs[record.job, words] += record.count
    print(f"\nwhat the ledger says after {SECONDS} seconds")
    for (job, words), count in sorted(runs.items()):
        print(f"  {job:<32} {words:<22} {count:>4}")
    ran = {job for job, words in runs if words == "succeeded"}
    skipped = runs["slow_import", "skipped (overlap)"]
    wanted = {"shop.tasks.warm_cache", "shop.schedule.prune_sessions", "count-stock", "slow_import", "check-till"}
    missing = sorted(wanted - ran)
    if missing:
        print(f"\nnot a single run succeeded of: {', '.join(missing)}")
    return not missing and skipped > 0


def main() -> int:
    """Run the demo; 0 if it showed what it is for."""
    # Ctrl-C goes to the whole group; a TERM to this process shall end the others as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    with ExitStack() as stack:
        os.environ["SHOP_BROKER"] = broker(stack)
        os.environ.setdefault("PYTHONPATH", str(EXAMPLES))
        sys.path.insert(0, str(EXAMPLES))
        with ExitStack() as processes:
            worker = start(
                processes, "worker", "--loglevel", "INFO", "--concurrency", "4", "--without-mingle", "--without-gossip"
            )
            beat = start(processes, "beat", "-S", "celery_legion.Scheduler", "--loglevel", "INFO", "--pidfile=")
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline:
                if worker.poll() is not None or beat.poll() is not None:
                    print("a process ended before its time")
                    return 1
                time.sleep(0.2)
        subprocess.run([sys.executable, "-m", "celery", "-A", "shop", "legion", "list"], cwd=EXAMPLES, check=True)
        return 0 if summarize() else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
