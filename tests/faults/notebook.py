"""Notebooks that no fault touches, and aims: append-only files of JSON lines, and files that one process can take."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from tests.faults import chore

SCHEDULERS, TASKS = "schedulers.jsonl", chore.TASKS


class Notebook:
    """One append-only file. A short append is atomic, and done when it returns, whatever becomes of its writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def write(self, event: str, **fields: Any) -> None:
        """Append one line with the process and both clocks; the monotonic one is the same for all processes here."""
        line = {"event": event, "pid": os.getpid(), "mono": time.monotonic(), "wall": time.time(), **fields}
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, json.dumps(line).encode() + b"\n")
        finally:
            os.close(descriptor)

    def read(self) -> list[dict[str, Any]]:
        """Return the whole lines since the last read."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            lines = file.read().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]
        self._offset += sum(map(len, whole))
        return [json.loads(line) for line in whole]


class Aims:
    """Faults that are asked for: a file for a stage, with the signal in it; who renames it has taken it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def put(self, stage: str, signal: int) -> None:
        """Ask for *signal* at *stage*."""
        draft = self.folder / f".{stage}"
        draft.write_text(str(signal))
        draft.rename(self.folder / stage)

    def lies(self, stage: str) -> bool:
        """Whether somebody may be wanted at *stage*."""
        return (self.folder / stage).exists()

    def take(self, stage: str) -> int | None:
        """Return the signal wanted at *stage*, to exactly one of all who ask."""
        taken = self.folder / f".{stage}.{os.getpid()}"
        try:
            (self.folder / stage).rename(taken)
        except FileNotFoundError:
            return None
        return int(taken.read_text())
