"""The oracle excuses what faults explain, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from celery_legion.run import State
from tests.faults.evidence import Evidence
from tests.faults.sound import START, a_lapse, asked, with_records

HERE, ELSEWHERE = (START + 1900, START + 2100), (START + 100, START + 900)


def missed_while_led(evidence: Evidence, reason: str) -> Evidence:
    state = State.SKIPPED if reason == "overlap" else State.MISSED
    lapse = a_lapse("tick", START + 2000, START + 2000, 1, state, reason)
    gone = next(one for one in evidence.executions if one.fire == START + 2000)
    changed = with_records(evidence, "tick", lambda records: [records[0], lapse, *records[2:]])
    return replace(changed, executions=[one for one in evidence.executions if one is not gone])


@pytest.mark.parametrize("reason", ["catch_up", "broker", "no_worker", "overlap", "queue"])
def test_a_miss_is_excused_by_an_outage_that_it_lies_in(sound: Evidence, reason: str) -> None:
    changed = missed_while_led(sound, reason)

    assert asked(replace(changed, outages=[HERE])) == {}
    assert asked(replace(changed, outages=[ELSEWHERE])) == {"unexcused": 1}


@pytest.mark.parametrize("reason", ["condition", "limit", "gone", "superseded", "paused", ""])
def test_an_outage_excuses_no_other_reason(sound: Evidence, reason: str) -> None:
    assert asked(replace(missed_while_led(sound, reason), outages=[HERE])) == {"unexcused": 1}


def test_a_pause_excuses_the_paused_job_while_it_is_paused(sound: Evidence) -> None:
    changed = missed_while_led(sound, "paused")

    assert asked(replace(changed, paused={"tick": [HERE]})) == {}
    assert asked(replace(changed, paused={"tick": [ELSEWHERE], "each": [HERE]})) == {"unexcused": 1}


@pytest.mark.parametrize(
    ("reason", "found"),
    [("catch_up", {"unexcused": 1}), ("broker", {"unexcused": 1}), ("no_worker", {}), ("overlap", {}), ("queue", {})],
)
def test_harmed_workers_excuse_no_leader(sound: Evidence, reason: str, found: dict[str, int]) -> None:
    assert asked(replace(missed_while_led(sound, reason), harms=[HERE])) == found


def test_who_stays_away_for_longer_than_recovery_takes_has_no_excuse(sound: Evidence) -> None:
    assert asked(replace(sound, recovery=0.1)) == {"unexcused": 1}


def ended(evidence: Evidence, state: State) -> Evidence:
    return with_records(evidence, "tick", lambda records: [replace(records[0], state=state), *records[1:]])


@pytest.mark.parametrize("state", [State.LOST, State.EXPIRED, State.INTERRUPTED, State.FAILED])
def test_a_run_may_end_badly_if_workers_were_hurt_meanwhile(sound: Evidence, state: State) -> None:
    changed = replace(ended(sound, state), hurt=True)
    unrun = replace(changed, executions=sound.executions[1:])
    meanwhile, later = [(START + 1050, START + 1060)], [(START + 4000, START + 4100)]

    assert asked(replace(changed, harms=meanwhile)) == asked(replace(unrun, harms=meanwhile)) == {}
    assert asked(replace(changed, harms=later)) == asked(replace(unrun, harms=later)) == {"unexecuted": 1}
    assert asked(replace(changed, harms=meanwhile, hurt=False)) == {"unexecuted": 1}


@pytest.mark.parametrize("state", [State.CLAIMED, State.SENT, State.RUNNING, State.RETRYING])
def test_a_run_that_never_ends_is_found_whoever_was_hurt(sound: Evidence, state: State) -> None:
    changed = replace(ended(sound, state), hurt=True, harms=[(START, START + 5000)])

    assert asked(changed) == {"unexecuted": 1}


def test_what_succeeded_was_executed_whoever_was_hurt(sound: Evidence) -> None:
    changed = replace(sound, executions=sound.executions[1:], hurt=True, harms=[(START, START + 5000)])

    assert asked(changed) == {"unexecuted": 1}


def test_a_second_attempt_needs_a_harm_between_its_fire_and_its_start(sound: Evidence) -> None:
    first, *others = sound.executions
    assert first.end is not None
    again = replace(first, attempt=2, start=first.start + 0.5, wall=first.wall + 0.5, end=first.end + 0.5, token=1500)
    changed = replace(sound, executions=[first, again, *others], hurt=True)

    assert asked(replace(changed, harms=[(START + 1100, START + 1200)])) == {}
    assert asked(replace(changed, harms=[(START + 1800, START + 1900)])) == {"repeated": 1}
    assert asked(replace(changed, harms=[(START + 1100, START + 1200)], hurt=False)) == {"repeated": 1}


def test_one_attempt_executed_twice_is_repeated_whoever_was_hurt(sound: Evidence) -> None:
    again = replace(sound.executions[-1], pid=2)
    changed = replace(sound, executions=[*sound.executions, again], hurt=True, harms=[(START, START + 5000)])

    assert "repeated" in asked(changed)
