"""What a job of the workload does: write down that it starts, write under its fencing number, write that it ends.

Also a program for command jobs: ``python -S chore.py FOLDER JOB SECONDS``.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from datetime import datetime
from pathlib import Path

TASKS = "tasks.jsonl"
SLICE = 0.25


def note(folder: Path, event: str, known: dict[str, object]) -> None:
    """Append one line, done when it returns."""
    line = {"event": event, "pid": os.getpid(), "mono": time.monotonic(), "wall": time.time(), **known}
    descriptor = os.open(folder / TASKS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


def fenced(folder: Path, job: str, token: int) -> bool:
    """Write to the resource that the job guards; return whether it took *token*: it refuses a lower one than it saw."""
    descriptor = os.open(folder / f"fence-{job}", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        seen = int(os.read(descriptor, 32) or b"0")
        if token < seen:
            return False
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, str(token).encode())
        return True
    finally:
        os.close(descriptor)


def do(folder: Path, known: dict[str, object], seconds: float, guarded: bool = True) -> None:
    """Do the work of *seconds*, in slices; where *guarded*, as one who goes on until the guarded resource refuses him.

    One that stood still in the middle, for longer than its lease, has not worked meanwhile.
    """
    note(folder, "start", known)
    job, token = str(known["job"]), int(str(known["token"]))
    until = time.monotonic() + seconds
    written = time.monotonic()
    while True:
        if guarded and token and not fenced(folder, job, token):
            note(folder, "refused", {**known, "written": written})
            return
        written = time.monotonic()
        if (left := until - written) <= 0:
            break
        time.sleep(min(SLICE, left))
    note(folder, "end", known)


if __name__ == "__main__":
    env = os.environ
    do(
        Path(sys.argv[1]),
        {
            "job": sys.argv[2],
            "id": env["LEGION_RUN_ID"],
            "attempt": int(env.get("LEGION_ATTEMPT", "0")),
            "token": int(env.get("LEGION_TOKEN", "0")),
            "fire": round(datetime.fromisoformat(env["LEGION_FIRE_TIME"]).timestamp() * 1000),
        },
        float(sys.argv[3]),
    )
