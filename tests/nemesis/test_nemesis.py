"""Three beats and two workers while their leader is killed, paused and ended, again and again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from celery_legion.embedded import NoServerError, find_server
from tests.conftest import missing
from tests.nemesis import oracle, table
from tests.nemesis.aimed import Stage
from tests.nemesis.campaign import KILLED_AT, PAUSES, TERMS, Report, run
from tests.nemesis.cluster import LEASE, Cluster
from tests.nemesis.evidence import Evidence
from tests.nemesis.oracle import first_witnesses

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

QUESTIONS = {
    "lost": oracle.lost,
    "doubled": oracle.doubled,
    "miscounted": oracle.miscounted,
    "not run though each fire must": oracle.unrun,
    "missed or skipped without a cause": oracle.unexcused,
    "executed twice": oracle.repeated,
    "sent and never executed": oracle.unexecuted,
    "executed without a record": oracle.unaccounted,
    "overlapping": oracle.overlapping,
    "granted to a deposed leader": oracle.stale,
}

Campaign = tuple[Report, Evidence, dict[str, Sequence[str]]]


@pytest.fixture
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """One campaign; its table is printed, and kept in the test's folder."""
    try:
        find_server()
    except NoServerError as exc:
        missing(str(exc))
    folder: Path = tmp_path_factory.mktemp("nemesis")
    with Cluster(folder) as cluster:
        report, evidence = run(cluster)
    verdicts: dict[str, Sequence[str]] = {question: ask(evidence) for question, ask in QUESTIONS.items()}
    text = table.render(report, evidence, verdicts)
    (folder / "table.txt").write_text(text + "\n")
    print(f"\n{text}\n(kept in {folder / 'table.txt'})", file=sys.stderr)
    return report, evidence, verdicts


def nothing_is_amiss(campaign: Campaign) -> None:
    amiss = [
        f"{len(witnesses)} {question}:\n{first_witnesses(witnesses)}"
        for question, witnesses in campaign[2].items()
        if witnesses
    ]

    assert not amiss, "\n".join(amiss)


def every_stage_was_hit(campaign: Campaign) -> None:
    report, _, _ = campaign

    assert len(report.kills) >= 20
    assert set(report.kills) == {*KILLED_AT, Stage.RESENT}
    assert report.pauses == list(PAUSES)
    assert len(report.pauses) >= 6


def a_killed_leader_is_replaced_within_its_lease_and_a_second(campaign: Campaign) -> None:
    report, _, _ = campaign

    assert max(report.after_kill) <= LEASE + 1, report.after_kill


def a_leader_that_is_asked_to_end_is_replaced_within_half_a_second(campaign: Campaign) -> None:
    report, _, _ = campaign

    assert len(report.after_term) == TERMS
    assert max(report.after_term) <= 0.5, report.after_term


def a_leader_paused_in_its_pass_stands_by_when_it_goes_on(campaign: Campaign) -> None:
    report, evidence, _ = campaign

    assert report.stood_by == ["stands by"] * len(PAUSES)
    # Seven leaders in a row among three beats: at least one that was paused has led again.
    resumed = {note["pid"]: note["mono"] for note in reversed(evidence.notes) if note["event"] == "resumed"}
    assert any(
        note["event"] == "claim" and note["runs"] and note["mono"] > resumed.get(note["pid"], float("inf"))
        for note in evidence.notes
    )


def a_claim_decided_before_the_pause_is_refused_after_it(campaign: Campaign) -> None:
    _, evidence, _ = campaign
    notes = list(evidence.notes)
    resumed = next(note for note in notes if note["event"] == "resumed" and note["stage"] == Stage.DECIDED.name)
    claim = next(
        note
        for note in notes
        if note["event"] == "claim" and note["pid"] == resumed["pid"] and note["mono"] > resumed["mono"]
    )

    assert set(claim["verdicts"]) == {"deposed"}


def copies_are_dropped_only_where_there_were_faults(campaign: Campaign) -> None:
    report, _, _ = campaign

    assert report.copies_in_peace == 0
    assert report.copies > 0


def no_process_ends_by_itself_and_nothing_is_left_over(campaign: Campaign) -> None:
    report, _, _ = campaign

    assert not report.strays, "\n".join(report.strays)


CHECKS = (
    nothing_is_amiss,
    every_stage_was_hit,
    a_killed_leader_is_replaced_within_its_lease_and_a_second,
    a_leader_that_is_asked_to_end_is_replaced_within_half_a_second,
    a_leader_paused_in_its_pass_stands_by_when_it_goes_on,
    a_claim_decided_before_the_pause_is_refused_after_it,
    copies_are_dropped_only_where_there_were_faults,
    no_process_ends_by_itself_and_nothing_is_left_over,
)


def test_a_campaign_against_the_leader_breaks_nothing(campaign: Campaign) -> None:
    """One test, so that a suite that runs on several processes holds one campaign."""
    failures = []
    for check in CHECKS:
        try:
            check(campaign)
        except AssertionError as exc:
            failures.append(AssertionError(f"{check.__name__}: {exc}"))

    if failures:
        raise ExceptionGroup("the campaign has broken promises", failures)
