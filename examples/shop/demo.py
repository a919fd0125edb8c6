"""The shop for half a minute: ``legion dev`` runs it, a second command line steers it, and the ledger must show it all.

Exits with 0 if every kind of job did what it is for.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 25
PUSH_AT = 8
CHECK_AT = 18
EXAMPLES = Path(__file__).resolve().parent.parent
LEGION = [sys.executable, "-m", "celery", "-A", "shop", "legion"]

Seen = set[tuple[str, str, str]]
"""Job, kind and state (with its reason) of every record."""

WANTED = {
    "a decorated function": ("shop.tasks.warm_cache", "scheduled", "succeeded"),
    "a fluent callable": ("prune-sessions", "scheduled", "succeeded"),
    "a task of beat_schedule": ("count-stock", "scheduled", "succeeded"),
    "a shell command": ("check-till", "scheduled", "succeeded"),
    "a slow job": ("slow-import", "scheduled", "succeeded"),
    "its overlap that was skipped": ("slow-import", "scheduled", "skipped overlap"),
    "a failure": ("print-labels", "scheduled", "failed"),
    "a push": ("restock", "pushed", "succeeded"),
}


def legion(*args: str) -> subprocess.CompletedProcess[str]:
    """Call the real command line, as from a second terminal: it finds dev's server by itself."""
    return subprocess.run([*LEGION, *args], cwd=EXAMPLES, capture_output=True, text=True, check=False)


def look() -> Seen:
    """Return what the ledger holds."""
    done = legion("history", "--json", "--limit", "1000")
    records = json.loads(done.stdout) if done.returncode == 0 else []
    return {(one["job"], one["kind"], f"{one['state']} {one['reason'] or ''}".strip()) for one in records}


@contextmanager
def running(pager: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``legion dev``; whatever happens here, it is asked to end, and it leaves nothing."""
    dev = subprocess.Popen(
        [*LEGION, "dev", "--for", str(SECONDS)], cwd=EXAMPLES, env={**os.environ, "SHOP_PAGER": str(pager)}
    )
    try:
        yield dev
    finally:
        # A terminal's Ctrl-C has reached dev as well; a second one is its own affair.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if dev.poll() is None:
            dev.terminate()
        dev.wait()


def main() -> int:
    """Run the demo; 0 if everything was seen."""
    seen: Seen = set()
    screens: list[tuple[str, str]] = []
    print(
        "the example shop runs for half a minute; print-labels fails on purpose, to show a hook, and slow-import takes"
    )
    print("longer than its interval, to show skips")
    with tempfile.TemporaryDirectory() as folder:
        pager = Path(folder, "pager.txt")
        with running(pager) as dev:
            started = time.monotonic()
            while dev.poll() is None:
                passed = time.monotonic() - started
                if passed > PUSH_AT and not screens:
                    words = "push restock --arg 40"
                    done = legion(*words.split())
                    screens.append((words, done.stderr + done.stdout))
                if passed > CHECK_AT and not set(WANTED.values()) <= seen:
                    seen |= look()
                time.sleep(0.2)
        paged = pager.exists()
    print("\nmeanwhile, in another terminal:")
    for words, screen in screens:
        print(f"\n$ celery -A shop legion {words}\n{screen}", end="")
    missing = [what for what, record in WANTED.items() if record not in seen]
    if not paged:
        missing.append("the failure's hook")
    if dev.returncode:
        missing.append(f"a good end of dev (its code was {dev.returncode})")
    print(
        f"\nnot seen: {', '.join(missing)}"
        if missing
        else "\nevery kind of job did what it is for: print-labels is meant to fail"
    )
    return 1 if missing else 0


if __name__ == "__main__":
    # Ended politely, it ends dev too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
