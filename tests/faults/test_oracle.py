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


def test_starts_and_ends_are_paired_by_run_and_token() -> None:
    known = {"job": "tick", "id": "a", "attempt": 1, "token": 7, "fire": START, "pid": 1, "wall": 1.0}
    lines = [
        {**known, "event": "start", "mono": 2.0},
        {**known, "event": "start", "mono": 1.0, "token": 8},
        {**known, "event": "end", "mono": 3.0},
    ]

    assert [(one.start, one.end) for one in read_executions(lines)] == [(1.0, None), (2.0, 3.0)]


def test_the_model_counts_fires_strictly_after_the_start_and_up_to_the_end() -> None:
    seconds = Planned("s", Grid.CLOCK, 1000, 0)
    phased = Planned("p", Grid.PHASE, 1500, 0, 40)
    seen = Planned("f", Grid.FIRST, 2000, 0)

    assert list(seconds.fires(START, START + 2000)) == [START + 1000, START + 2000]
    assert all(fire % 1500 == 40 for fire in phased.fires(START, START + 9000))
    assert list(seen.fires(START, START + 5000, first=START + 1234)) == [START + 1234, START + 3234]
