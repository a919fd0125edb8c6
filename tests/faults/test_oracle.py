"""The oracle sees what it is there to see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from celery_legion.run import Kind, Record, State
from tests.faults import oracle
from tests.faults.evidence import Evidence, Execution, read_executions
from tests.faults.workload import Grid, Planned

START = 1_700_000_000_000
JOBS = (Planned("tick", Grid.CLOCK, 1000, 0.1), Planned("each", Grid.PHASE, 1000, 0.1, 250, each=True))


def moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def a_run(job: str, fire: int, state: State = State.SUCCEEDED) -> Record:
    return Record(
        id=f"{job}-{fire}",
        job=job,
        kind=Kind.SCHEDULED,
        fire_time=moment(fire),
        last_fire_time=moment(fire),
        state=state,
    )


def a_lapse(job: str, first: int, last: int, count: int, state: State, reason: str) -> Record:
    return Record(
        id=None,
        job=job,
        kind=Kind.SCHEDULED,
        fire_time=moment(first),
        last_fire_time=moment(last),
        state=state,
        reason=reason,
        count=count,
    )


def an_execution(record: Record, seconds: float = 0.1) -> Execution:
    fire = oracle.ms(record.fire_time)
    start = fire / 1000 + 0.01
    return Execution(
        job=record.job,
        run_id=str(record.id),
        attempt=1,
        fire=fire,
        pid=1,
        start=start,
        wall=start,
        end=start + seconds,
        token=fire - START,
    )


def a_claim(epoch: int, at: float) -> dict[str, object]:
    return {"event": "claim", "epoch": epoch, "runs": ["x"], "pid": epoch, "wall": at, "mono": at}


@pytest.fixture
def sound() -> Evidence:
    """Five seconds in which all went well: the third and fourth fire of tick fell into an outage."""
    seconds = [START + 1000 * n for n in range(1, 6)]
    tick = [a_run("tick", fire) for fire in (*seconds[:2], seconds[4])]
    tick.insert(2, a_lapse("tick", seconds[2], seconds[3], 2, State.MISSED, "catch_up"))
    each = [a_run("each", fire - 750) for fire in seconds]
    fault = {"event": "hit", "epoch": 1, "wall": seconds[2] / 1000 - 0.2, "mono": 1.0}
    healed = {"event": "published", "epoch": 2, "wall": seconds[4] / 1000, "mono": 3.0}
    begun = {"event": "published", "epoch": 1, "wall": START / 1000, "mono": 0.0}
    return Evidence(
        since=START,
        until=START + 5000,
        records={"tick": tick, "each": each},
        executions=[an_execution(record) for record in (*tick, *each) if record.id],
        notes=[begun, a_claim(1, 0.5), fault, a_claim(2, 2.9), healed],
        jobs=JOBS,
    )


QUESTIONS = (
    oracle.lost,
    oracle.doubled,
    oracle.miscounted,
    oracle.unrun,
    oracle.unexcused,
    oracle.repeated,
    oracle.unexecuted,
    oracle.unaccounted,
    oracle.overlapping,
    oracle.stale,
    oracle.unfenced,
)


def with_records(evidence: Evidence, job: str, change: Callable[[list[Record]], list[Record]]) -> Evidence:
    return replace(evidence, records={**evidence.records, job: change(list(evidence.records[job]))})


def asked(evidence: Evidence) -> dict[str, int]:
    return {ask.__name__: len(found) for ask in QUESTIONS if (found := ask(evidence))}


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


def missed_while_led(evidence: Evidence, reason: str) -> Evidence:
    state = State.SKIPPED if reason == "overlap" else State.MISSED
    lapse = a_lapse("tick", START + 2000, START + 2000, 1, state, reason)
    gone = next(one for one in evidence.executions if one.fire == START + 2000)
    changed = with_records(evidence, "tick", lambda records: [records[0], lapse, *records[2:]])
    return replace(changed, executions=[one for one in evidence.executions if one is not gone])


HERE, ELSEWHERE = (START + 1900, START + 2100), (START + 100, START + 900)


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


def test_starts_and_ends_are_paired_by_run_and_token() -> None:
    known = {"job": "tick", "id": "a", "attempt": 1, "token": 7, "fire": START, "pid": 1, "wall": 1.0}
    lines = [
        {**known, "event": "start", "mono": 2.0},
        {**known, "event": "start", "mono": 1.0, "token": 8},
        {**known, "event": "end", "mono": 3.0},
    ]

    assert [(one.start, one.end) for one in read_executions(lines)] == [(1.0, None), (2.0, 3.0)]


def a_line(event: str, mono: float, **fields: object) -> dict[str, object]:
    known = {"job": "tick", "id": "a", "attempt": 1, "token": 7, "fire": START, "pid": 1, "wall": mono}
    return {**known, "event": event, "mono": mono, **fields}


def test_one_that_was_refused_ended_with_the_last_write_that_was_taken() -> None:
    (one,) = read_executions([a_line("start", 1.0), a_line("refused", 9.0, written=2.5)])

    assert (one.end, one.refused) == (2.5, True)


def test_one_that_ended_by_itself_was_not_refused() -> None:
    (one,) = read_executions([a_line("start", 1.0), a_line("end", 2.0)], [1.5])

    assert (one.end, one.refused) == (2.0, False)


def test_one_without_an_end_was_over_at_the_first_death_after_its_start() -> None:
    lines = [a_line("start", 1.0), a_line("start", 5.0, id="b")]

    assert [one.end for one in read_executions(lines, [0.5, 3.0, 4.0])] == [3.0, None]


def test_an_end_belongs_to_the_start_before_it() -> None:
    lines = [a_line("start", 1.0), a_line("end", 2.0), a_line("start", 3.0)]

    assert [one.end for one in read_executions(lines)] == [2.0, None]


def test_the_ends_of_another_process_are_not_its_own() -> None:
    (one,) = read_executions([a_line("start", 1.0), a_line("end", 2.0, pid=2)])

    assert one.end is None


def test_the_model_counts_fires_strictly_after_the_start_and_up_to_the_end() -> None:
    seconds = Planned("s", Grid.CLOCK, 1000, 0)
    phased = Planned("p", Grid.PHASE, 1500, 0, 40)
    seen = Planned("f", Grid.FIRST, 2000, 0)

    assert list(seconds.fires(START, START + 2000)) == [START + 1000, START + 2000]
    assert all(fire % 1500 == 40 for fire in phased.fires(START, START + 9000))
    assert list(seen.fires(START, START + 5000, first=START + 1234)) == [START + 1234, START + 3234]
