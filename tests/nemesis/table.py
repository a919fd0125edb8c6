"""The table that a campaign prints: what was hit how often, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

from celery_legion.run import State
from tests.nemesis.aimed import Stage
from tests.nemesis.campaign import Report
from tests.nemesis.evidence import Evidence


def render(report: Report, evidence: Evidence, verdicts: Mapping[str, Sequence[str]]) -> str:
    """Return the table as text; *verdicts* are the oracle's witnesses by question."""
    records = [record for some in evidence.records.values() for record in some]
    states = Counter(
        f"{record.state.value}{f' ({record.reason})' if record.reason else ''}"
        for record in records
        for _ in range(record.count)
    )
    kills, pauses = Counter(report.kills), Counter(report.pauses)
    lines = [f"{'the leader was hit when it had':36}{'kill -9':>9}{'SIGSTOP':>9}"]
    lines += [f"  {stage.value:34}{kills[stage]:>9}{pauses[stage]:>9}" for stage in Stage]
    lines += [f"  {'in all':34}{kills.total():>9}{pauses.total():>9}", ""]
    lines += [f"{'take-over until the first message':36}{'times':>9}{'median':>9}{'max':>9}"]
    spans = {
        "after kill -9": report.after_kill,
        "after SIGSTOP": report.after_pause,
        "after SIGTERM": report.after_term,
    }
    lines += [
        f"  {name:34}{len(some):>9}{median(some):>8.2f}s{max(some):>8.2f}s" for name, some in spans.items() if some
    ]
    counts = {
        "fires in the ledger": sum(states.values()),
        **{f"  {name}": count for name, count in sorted(states.items())},
        "runs in the ledger": sum(record.id is not None and record.state is State.SUCCEEDED for record in records),
        "executions seen by the tasks": len(evidence.executions),
        "messages known to be sent": sum(len(note["runs"]) for note in evidence.notes if note["event"] == "published"),
        "copies of messages dropped": report.copies,
        **{name: len(witnesses) for name, witnesses in verdicts.items()},
    }
    lines += ["", *(f"{name:36}{count:>9}" for name, count in counts.items()), ""]
    observed = (evidence.until - evidence.since) / 1000
    lines += [f"{len(evidence.jobs)} jobs, {observed:.0f} s observed, {report.took:.0f} s in all"]
    return "\n".join(lines)
