"""What a run of the harness found, in a few lines for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

PEERS = ("redbeat", "beat")


def is_peer(row: Mapping[str, Any]) -> bool:
    """Whether a row is another scheduler's: its losses are a baseline, not a failure."""
    return row.get("scheduler") in PEERS


def failed(row: Mapping[str, Any]) -> bool:
    """Whether an invariant of ours was broken, or the scenario never came to its end."""
    return "error" in row or (not is_peer(row) and row.get("breaches", 1) != 0 and "skipped" not in row)


def line(row: Mapping[str, Any]) -> str:
    """Return what became of one scenario."""
    name = f"{row['scenario']:22}{row['faults']:10}"
    if "error" in row:
        return f"{name}did not come to its end: {row['error'].strip().rpartition(chr(10))[2]}"
    if "skipped" in row:
        return f"{name}skipped: {row['skipped']}"
    if is_peer(row):
        told = ", ".join(f"{row[key]} {key.replace('_', ' ')}" for key in ("slots", "lost", "doubled") if key in row)
        return f"{name}{row['scheduler']}: {told}"
    broken = {name: count for name, count in row.get("invariants", {}).items() if count}
    verdict = "nothing broken" if not row["breaches"] else f"BROKEN: {broken or row['breaches']}"
    counts = ", ".join(f"{row[key]} {key}" for key in ("kills", "pauses", "terms", "slots", "copies") if key in row)
    spans = "; ".join(
        f"{what.replace('_', ' ')} median {span['p50']:.2f} s, max {span['max']:.2f} s"
        for what, span in row.get("takeover_s", {}).items()
    )
    return f"{name}{verdict}; {counts}{'; ' if spans else ''}{spans} ({row['took_s']:.0f} s)"


def render(rows: Sequence[Mapping[str, Any]], seconds: float) -> str:
    """Return the table of all rows and the sums over them."""
    sums: Counter[str] = Counter()
    for row in rows:
        if not is_peer(row) and "error" not in row:
            sums.update({key: row[key] for key in ("kills", "pauses", "terms", "slots", "executions") if key in row})
    broken = [row for row in rows if failed(row)]
    told = ", ".join(f"{count} {key}" for key, count in sums.items())
    verdict = "zero breaches" if not broken else f"{len(broken)} scenarios with breaches"
    many = "scenario" if len(rows) == 1 else "scenarios"
    end = f"{len(rows)} {many} in {seconds / 60:.1f} min: {verdict}; {told}"
    return end if len(rows) == 1 else "\n".join([*map(line, rows), "", end])
