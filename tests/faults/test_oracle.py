"""The oracle sees what it is there to see."""

from __future__ import annotations

from dataclasses import replace

from celery_legion.run import Kind, Record, State
from tests.faults import oracle
from tests.faults.evidence import Evidence
from tests.faults.sound import START, a_claim, a_lapse, a_run, an_execution, asked, with_records


def test_nothing_is_found_where_nothing_is_wrong(sound: Evidence) -> None:
    assert asked(sound) == {}


def test_a_fire_without_a_record_is_lost(sound: Evidence) -> None:
    found = oracle.lost(with_records(sound, "tick", lambda records: records[1:]))

    assert found == ["tick at 22:13:21.000: in no record"]


def test_a_fire_in_two_records_is_doubled(sound: Evidence) -> None:
    again = a_lapse("tick", START + 1000, START + 1000, 1, State.SKIPPED, "overlap")

    assert "doubled" in asked(with_records(sound, "tick", lambda records: [*records, again]))


def test_two_runs_of_one_fire_are_doubled(sound: Evidence) -> None:
    other = replace(sound.executions[0], run_id="another")

    assert "doubled" in asked(replace(sound, executions=[*sound.executions, other]))


def test_a_lapse_of_another_count_is_miscounted(sound: Evidence) -> None:
    found = asked(
        with_records(
            sound, "tick", lambda records: [replace(one, count=3) if one.count == 2 else one for one in records]
        )
    )

    assert found == {"miscounted": 1}


def test_a_record_of_no_fire_is_miscounted(sound: Evidence) -> None:
    stray = a_lapse("tick", START + 1500, START + 1500, 1, State.MISSED, "catch_up")

    assert "miscounted" in asked(with_records(sound, "tick", lambda records: [*records, stray]))


def test_a_miss_counts_as_not_run_where_each_fire_must(sound: Evidence) -> None:
    missed = a_lapse("each", START + 2250, START + 2250, 1, State.MISSED, "catch_up")

    assert "unrun" in asked(with_records(sound, "each", lambda records: [*records[:2], missed, *records[3:]]))


def test_a_pause_excuses_a_fire_that_must_run_while_its_job_is_paused(sound: Evidence) -> None:
    paused = a_lapse("each", START + 2250, START + 2250, 1, State.SKIPPED, "paused")
    changed = with_records(sound, "each", lambda records: [*records[:2], paused, *records[3:]])
    meanwhile = [(START + 2000, START + 2500)]

    assert "unrun" in asked(changed)
    assert "unrun" in asked(replace(changed, paused={"tick": meanwhile}))
    assert "unrun" not in asked(replace(changed, paused={"each": meanwhile}))


def test_a_miss_while_a_leader_led_has_no_cause(sound: Evidence) -> None:
    missed = a_lapse("tick", START + 1000, START + 1000, 1, State.MISSED, "catch_up")

    assert "unexcused" in asked(with_records(sound, "tick", lambda records: [missed, *records[1:]]))


def test_an_overlap_without_a_run_in_the_way_has_no_cause(sound: Evidence) -> None:
    skipped = a_lapse("tick", START + 2000, START + 2000, 1, State.SKIPPED, "overlap")

    assert "unexcused" in asked(with_records(sound, "tick", lambda records: [records[0], skipped, *records[2:]]))


def test_an_overlap_with_a_run_in_the_way_has_a_cause(sound: Evidence) -> None:
    skipped = a_lapse("tick", START + 2000, START + 2000, 1, State.SKIPPED, "overlap")
    changed = with_records(sound, "tick", lambda records: [records[0], skipped, *records[2:]])
    first, _, *others = sound.executions
    assert first.end is not None

    assert asked(replace(changed, executions=[replace(first, end=first.end + 1), *others])) == {}


def test_one_attempt_executed_twice_is_repeated(sound: Evidence) -> None:
    again = replace(sound.executions[0], pid=2, start=sound.executions[0].start + 0.5)

    assert "repeated" in asked(replace(sound, executions=[*sound.executions, again]))


def test_a_second_attempt_is_repeated_too(sound: Evidence) -> None:
    again = replace(sound.executions[0], attempt=2)

    assert "repeated" in asked(replace(sound, executions=[again, *sound.executions[1:]]))


def test_a_run_that_no_task_saw_is_unexecuted(sound: Evidence) -> None:
    assert asked(replace(sound, executions=sound.executions[1:])) == {"unexecuted": 1}


def test_an_execution_that_the_ledger_calls_skipped_is_unaccounted(sound: Evidence) -> None:
    def skip(records: list[Record]) -> list[Record]:
        return [replace(records[0], state=State.SKIPPED, reason="superseded"), *records[1:]]

    assert asked(with_records(sound, "tick", skip)) == {"unaccounted": 1}


def test_an_execution_before_its_fire_is_unaccounted(sound: Evidence) -> None:
    early = replace(sound.executions[0], wall=sound.executions[0].wall - 0.5)

    assert asked(replace(sound, executions=[early, *sound.executions[1:]])) == {"unaccounted": 1}


def test_an_execution_that_begins_in_another_one_overlaps(sound: Evidence) -> None:
    first, *others = sound.executions
    assert first.end is not None

    assert asked(replace(sound, executions=[replace(first, end=first.end + 1), *others])) == {"overlapping": 1}


def test_an_execution_that_never_ended_overlaps_the_next(sound: Evidence) -> None:
    first, *others = sound.executions

    assert set(asked(replace(sound, executions=[replace(first, end=None), *others]))) == {"overlapping", "unaccounted"}


def test_a_claim_of_an_earlier_epoch_is_stale(sound: Evidence) -> None:
    assert asked(replace(sound, notes=[*sound.notes, a_claim(1, 3.5)])) == {"stale": 1}


def test_a_claim_whose_run_a_successor_has_sent_already_was_only_noted_late(sound: Evidence) -> None:
    claim = a_claim(1, 3.5)
    sent = {**claim, "event": "published", "epoch": 2, "at": 3.0}

    assert asked(replace(sound, notes=[*sound.notes, sent, claim])) == {}
    assert asked(replace(sound, notes=[*sound.notes, {**sent, "runs": ["y"]}, claim])) == {"stale": 1}
    assert asked(replace(sound, notes=[*sound.notes, {**sent, "epoch": 1}, claim])) == {"stale": 1}


def test_a_claim_of_nobody_who_leads_is_no_fault(sound: Evidence) -> None:
    nothing = {**a_claim(1, 3.5), "runs": []}

    assert asked(replace(sound, notes=[*sound.notes, nothing])) == {}


def test_a_lower_token_after_a_higher_one_is_unfenced(sound: Evidence) -> None:
    first, *others = sound.executions

    assert asked(replace(sound, executions=[replace(first, token=1_000_000), *others])) == {"unfenced": 2}


def test_an_execution_without_a_token_is_unfenced(sound: Evidence) -> None:
    first, *others = sound.executions

    assert asked(replace(sound, executions=[replace(first, token=0), *others])) == {"unfenced": 1}


def test_where_every_fire_runs_tokens_are_of_no_account(sound: Evidence) -> None:
    executions = [replace(one, token=0) if one.job == "each" else one for one in sound.executions]

    assert asked(replace(sound, executions=executions)) == {}


def test_an_execution_that_knows_of_no_run_is_found(sound: Evidence) -> None:
    stranger = replace(sound.executions[-1], run_id="stranger", attempt=0, fire=0, token=0)
    changed = replace(sound, executions=[*sound.executions, stranger], hurt=True, harms=[(START, START + 5000)])

    assert asked(changed) == {"repeated": 1, "unaccounted": 1}


def test_pushes_are_no_fires(sound: Evidence) -> None:
    pushes = [replace(a_run("each", START + 1300), id=name, kind=Kind.PUSHED) for name in ("a", "b")]
    changed = with_records(sound, "each", lambda records: [records[0], *pushes, *records[1:]])
    executions = sorted([*sound.executions, *map(an_execution, pushes)], key=lambda one: one.start)

    assert asked(replace(changed, executions=executions)) == {}


def test_a_record_of_a_fire_before_the_schedule_was_seen_is_miscounted(sound: Evidence) -> None:
    early = a_lapse("tick", START - 1000, START, 2, State.MISSED, "catch_up")
    changed = with_records(sound, "tick", lambda records: [early, *records])

    assert asked(changed) == {"miscounted": 1}
    assert asked(replace(changed, cut=True)) == {}


def test_what_ran_before_a_cut_is_not_judged(sound: Evidence) -> None:
    before = an_execution(a_run("tick", START - 1000))
    changed = replace(sound, executions=[before, *sound.executions])

    assert "unaccounted" in asked(changed)
    assert asked(replace(changed, cut=True, executions=[replace(before, token=1), *sound.executions])) == {}
