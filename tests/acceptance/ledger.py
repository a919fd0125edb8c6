"""Reading the tasks' own ledger: what really ran, and whether anything overlapped."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Span:
    """One execution: from its start to its end, or to None if it never ended."""

    job: str
    id: str
    start: float
    end: float | None


class Ledger:
    """The file that tasks append to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def starts(self, job: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] == "start" and line["job"] == job]

    def spans(self, job: str) -> list[Span]:
        open_: dict[tuple[str, int], float] = {}
        spans = []
        for line in self.lines():
            if line["job"] != job:
                continue
            key = (line["id"], line["pid"])
            if line["event"] == "start":
                open_[key] = line["at"]
            else:
                spans.append(Span(job, line["id"], open_.pop(key), line["at"]))
        spans += [Span(job, run_id, start, None) for (run_id, _), start in open_.items()]
        return sorted(spans, key=lambda span: span.start)

    def overlaps(self, job: str) -> list[tuple[Span, Span]]:
        spans = self.spans(job)
        return [(one, two) for one, two in pairwise(spans) if one.end is None or two.start < one.end]

    def doubles(self, job: str) -> dict[str, int]:
        counts = Counter(line["id"] for line in self.starts(job))
        return {run_id: count for run_id, count in counts.items() if count > 1}
