"""Verdicts, numbers and the summary tell what became of a scenario."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.faults import summary, verdict
from tests.faults.evidence import Evidence
from tests.faults.sound import START
from tests.faults.traffic import JOBS, first_of, more


def test_every_invariant_can_be_broken(heard: Evidence) -> None:
    one, *others = heard.executions
    found = verdict.judge(
        replace(
            more(heard, first_of(heard), replace(first_of(heard), fire=START + 1, run_id="x")),
            jobs=[replace(job, each=False) for job in JOBS],
            records={"tick": [*heard.records["tick"][:2], *heard.records["tick"][:1]], "tock": heard.records["tock"]},
            executions=[replace(one, end=None), replace(one, pid=9), *others],
            residue=["a lock"],
            strays=["a beat ended"],
        )
    )

    assert {name for name, witnesses in found.items() if not witnesses} == set()
    assert set(verdict.shown(found)) == set(verdict.INVARIANTS)


def test_numbers_count_messages_copies_and_lateness(heard: Evidence) -> None:
    one = first_of(heard)
    late = replace(one, wall=one.wall + 9)
    told = verdict.numbers(more(heard, late, replace(late, redelivered=True), replace(late, retries=1)))

    assert (told["slots"], told["runs"], told["messages"], told["copies"], told["executions"]) == (8, 8, 9, 1, 8)
    assert told["outcomes"] == {"succeeded": 8}
    assert told["observed_s"] == 5.0
    before = replace(one, fire=START - 9000, run_id="x")
    assert verdict.numbers(more(heard, before))["lateness_s"] == told["lateness_s"]
    assert told["lateness_s"] == {"n": 8, "p50": 0.01, "p95": 0.01, "p99": 0.01, "max": 0.01}


def test_a_spread_of_none_one_and_many() -> None:
    assert verdict.spread([]) == {"n": 0}
    assert verdict.spread([2.0]) == {"n": 1, "p50": 2.0, "p95": 2.0, "p99": 2.0, "max": 2.0}
    assert verdict.spread([float(n) for n in range(101)]) == {"n": 101, "p50": 50, "p95": 95, "p99": 99, "max": 100}


GOOD: dict[str, Any] = {
    "scenario": "kill",
    "faults": "F2",
    "scheduler": "legion",
    "kills": 3,
    "slots": 100,
    "copies": 2,
    "executions": 90,
    "invariants": {"lost": 0, "doubled": 0},
    "breaches": 0,
    "takeover_s": {"after_kill": {"n": 3, "p50": 1.5, "p95": 2.0, "p99": 2.0, "max": 2.25}},
    "took_s": 61.2,
}
BAD = {**GOOD, "scenario": "pause", "invariants": {"lost": 2, "doubled": 0}, "breaches": 2}
HUNG = {"scenario": "hung", "faults": "F9", "error": "Traceback\n  somewhere\nTimeoutError: too long\n"}
PEER = {"scenario": "red", "faults": "F2", "scheduler": "redbeat", "slots": 60, "lost": 7, "doubled": 1, "took_s": 9.0}
LEFT_OUT = {"scenario": "rabbit", "faults": "F13", "skipped": "no RabbitMQ here", "took_s": 0.0}


@pytest.mark.parametrize(
    ("row", "failed"),
    [
        (GOOD, False),
        (BAD, True),
        (HUNG, True),
        (PEER, False),
        ({**PEER, "error": "it hung"}, True),
        (LEFT_OUT, False),
        # One that never came to be judged.
        ({name: value for name, value in GOOD.items() if name != "breaches"}, True),
    ],
)
def test_what_was_broken_or_not_judged_has_failed(row: dict[str, Any], failed: bool) -> None:
    assert summary.failed(row) is failed


def test_a_line_says_what_became_of_a_scenario() -> None:
    assert summary.line(GOOD).split(maxsplit=2)[2] == (
        "nothing broken; 3 kills, 100 slots, 2 copies; after kill median 1.50 s, max 2.25 s (61 s)"
    )
    assert "BROKEN: {'lost': 2}" in summary.line(BAD)
    assert summary.line(HUNG).endswith("did not come to its end: TimeoutError: too long")
    assert summary.line(PEER).endswith("redbeat: 60 slots, 7 lost, 1 doubled")
    assert summary.line(LEFT_OUT).endswith("skipped: no RabbitMQ here")


def test_the_table_sums_our_scenarios_and_says_whether_any_failed() -> None:
    well = summary.render([GOOD, GOOD, PEER, LEFT_OUT], 120).splitlines()
    badly = summary.render([GOOD, BAD, HUNG], 60).splitlines()

    assert len(well) == 6
    assert well[-1] == "4 scenarios in 2.0 min: zero breaches; 6 kills, 200 slots, 180 executions"
    assert badly[-1] == "3 scenarios in 1.0 min: 2 scenarios with breaches; 6 kills, 200 slots, 180 executions"


def test_what_a_scenario_adds_of_its_own_is_told_as_broken() -> None:
    assert "BROKEN: 1" in summary.line({**GOOD, "invariants": {}, "breaches": 1})
