"""The oracle of messages, the end of a scenario and the summary see what they are there to see."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from celery_legion.run import Kind, Record, State
from tests.faults import ending, oracle, summary, verdict, wire
from tests.faults.evidence import Evidence, Execution, Message
from tests.faults.workload import Grid, Planned
from tests.servers.arrival import Arrival

START = 1_700_000_000_000
APART = START / 1000 - 100
"""Seconds between the clocks of this evidence: the wall clock's START is 100 on the monotonic one."""

JOBS = (Planned("tick", Grid.CLOCK, 1000, 0.1, each=True), Planned("tock", Grid.PHASE, 2000, 0.1, 250, each=True))


def moment(ms: float) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def a_run(job: str, fire: int) -> Record:
    at = moment(fire)
    return Record(
        id=f"{job}-{fire}",
        job=job,
        kind=Kind.SCHEDULED,
        fire_time=at,
        last_fire_time=at,
        state=State.SUCCEEDED,
        claimed_at=moment(fire + 5),
        sent_at=moment(fire + 20),
    )


def a_message(record: Record) -> Message:
    wall = record.fire_time.timestamp() + 0.01
    fire = round(record.fire_time.timestamp() * 1000)
    return Message(job=record.job, run_id=str(record.id), fire=fire, wall=wall, mono=wall - APART, origin=1)


def an_execution(message: Message) -> Execution:
    wall = message.wall + 0.01
    return Execution(
        job=message.job,
        run_id=message.run_id,
        attempt=1,
        fire=message.fire or 0,
        pid=2,
        start=wall - APART,
        wall=wall,
        end=wall - APART + 0.1,
        token=1,
    )


@pytest.fixture
def sound() -> Evidence:
    """Five seconds in which every fire was sent once, and executed."""
    records = {job.name: [a_run(job.name, fire) for fire in job.fires(START, START + 5000)] for job in JOBS}
    messages = sorted((a_message(one) for some in records.values() for one in some), key=lambda one: one.wall)
    return Evidence(
        since=START,
        until=START + 5000,
        records=records,
        executions=[an_execution(message) for message in messages],
        notes=[{"event": "published", "epoch": 1, "wall": START / 1000, "mono": 100.0}],
        jobs=JOBS,
        messages=messages,
    )


def asked(evidence: Evidence) -> dict[str, int]:
    asks = (wire.unsent, wire.doubly_sent, wire.storming, wire.phantom, wire.silent, wire.residue)
    return {ask.__name__: len(found) for ask in asks if (found := ask(evidence))}


def more(evidence: Evidence, *messages: Message) -> Evidence:
    return replace(evidence, messages=[*(evidence.messages or ()), *messages])


def without(evidence: Evidence, fire: int) -> Evidence:
    """Take a fire's message and execution away, not its record."""
    return replace(
        evidence,
        messages=[one for one in evidence.messages or () if one.fire != fire],
        executions=[one for one in evidence.executions if one.fire != fire],
    )


def first_of(evidence: Evidence) -> Message:
    assert evidence.messages
    return evidence.messages[0]


HIT = {"event": "hit", "epoch": 1, "wall": START / 1000 + 2, "mono": 102.0}


def test_nothing_is_found_where_nothing_is_wrong(sound: Evidence) -> None:
    assert asked(sound) == {}
    assert {name: found for name, found in verdict.judge(sound).items() if found} == {}


def test_a_run_whose_message_never_came_is_unsent(sound: Evidence) -> None:
    assert asked(without(sound, START + 3000)) == {"unsent": 1}


def test_a_run_that_was_executed_was_sent(sound: Evidence) -> None:
    assert asked(replace(sound, messages=[one for one in sound.messages or () if one.fire != START + 3000])) == {}


@pytest.mark.parametrize(
    ("gap", "found"),
    [
        ((102.9, 103.5), {}),
        # In its last turn before it broke, too.
        ((104.5, 104.9), {}),
        ((102.5, math.inf), {}),
        ((101.0, 101.5), {"unsent": 1}),
        ((105.5, 106.0), {"unsent": 1}),
        ((105.5, math.inf), {"unsent": 1}),
    ],
)
def test_a_deaf_tap_excuses_what_was_sent_meanwhile(
    sound: Evidence, gap: tuple[float, float], found: dict[str, int]
) -> None:
    assert asked(replace(without(sound, START + 3000), gaps=[gap])) == found


@pytest.mark.parametrize("state", [State.SKIPPED, State.MISSED, State.EXPIRED])
def test_what_the_ledger_does_not_call_sent_needs_no_message(sound: Evidence, state: State) -> None:
    changed = without(sound, START + 1000)
    tick = [replace(sound.records["tick"][0], state=state), *sound.records["tick"][1:]]

    assert asked(replace(changed, records={**sound.records, "tick": tick})) == {}


def test_messages_of_two_runs_of_one_fire_are_doubly_sent(sound: Evidence) -> None:
    assert asked(more(sound, replace(first_of(sound), run_id="another"))) == {"doubly_sent": 1}


def test_pushes_are_of_no_fire(sound: Evidence) -> None:
    pushed = replace(first_of(sound), fire=None)

    assert asked(more(sound, replace(pushed, run_id="a"), replace(pushed, run_id="b"))) == {}


def test_a_copy_without_any_fault_is_a_storm(sound: Evidence) -> None:
    assert asked(more(sound, first_of(sound))) == {"storming": 1}


def test_faults_explain_some_copies_and_not_any_number(sound: Evidence) -> None:
    harmed = replace(sound, notes=[*sound.notes, HIT])
    copies = [first_of(sound)] * (wire.COPIES - 1)

    assert asked(more(harmed, *copies)) == {}
    assert asked(more(harmed, *copies, first_of(sound))) == {"storming": 1}


def test_redeliveries_and_retries_are_no_copies(sound: Evidence) -> None:
    one = first_of(sound)

    assert asked(more(sound, *[replace(one, redelivered=True)] * 20, *[replace(one, retries=3)] * 20)) == {}


def test_a_message_of_no_fire_is_a_phantom(sound: Evidence) -> None:
    assert asked(more(sound, replace(first_of(sound), fire=START + 1500, run_id="x"))) == {"phantom": 1}


def test_a_message_of_a_fire_before_the_schedule_was_seen_is_a_phantom(sound: Evidence) -> None:
    past = more(sound, replace(first_of(sound), fire=START - 1000, run_id="x"))

    assert asked(past) == {"phantom": 1}
    assert asked(replace(past, cut=True)) == {}


def test_a_message_before_its_time_is_a_phantom(sound: Evidence) -> None:
    def early(ms: float) -> Evidence:
        first, *others = sound.messages or ()
        return replace(sound, messages=[replace(first, wall=((first.fire or 0) - ms) / 1000), *others])

    assert asked(early(oracle.EARLY - 5)) == {}
    assert asked(early(oracle.EARLY + 5)) == {"phantom": 1}


def test_a_job_that_stands_still_after_the_last_fault_is_silent(sound: Evidence) -> None:
    stopped = replace(sound, records={**sound.records, "tick": sound.records["tick"][:2]})

    assert asked(replace(stopped, outages=[(START + 500, START + 2500)])) == {"silent": 1}
    assert asked(replace(stopped, harms=[(START + 500, START + 2500)])) == {"silent": 1}
    assert asked(replace(stopped, outages=[(START + 500, START + 4500)])) == {}


def test_strays_and_residue_are_told(sound: Evidence) -> None:
    assert asked(replace(sound, strays=["a beat ended"], residue=["a lock", "a run"])) == {"silent": 1, "residue": 2}


def test_where_nobody_listened_nothing_is_said_of_messages(sound: Evidence) -> None:
    assert asked(replace(sound, messages=None)) == {}
    assert verdict.numbers(replace(sound, messages=None))["messages"] == 0


def test_every_invariant_can_be_broken(sound: Evidence) -> None:
    one, *others = sound.executions
    found = verdict.judge(
        replace(
            more(sound, first_of(sound), replace(first_of(sound), fire=START + 1, run_id="x")),
            jobs=[replace(job, each=False) for job in JOBS],
            records={"tick": [*sound.records["tick"][:2], *sound.records["tick"][:1]], "tock": sound.records["tock"]},
            executions=[replace(one, end=None), replace(one, pid=9), *others],
            residue=["a lock"],
            strays=["a beat ended"],
        )
    )

    assert {name for name, witnesses in found.items() if not witnesses} == set()
    assert set(verdict.shown(found)) == set(verdict.INVARIANTS)


def test_numbers_count_messages_copies_and_lateness(sound: Evidence) -> None:
    one = first_of(sound)
    late = replace(one, wall=one.wall + 9)
    told = verdict.numbers(more(sound, late, replace(late, redelivered=True), replace(late, retries=1)))

    assert (told["slots"], told["runs"], told["messages"], told["copies"], told["executions"]) == (8, 8, 9, 1, 8)
    assert told["outcomes"] == {"succeeded": 8}
    assert told["observed_s"] == 5.0
    before = replace(one, fire=START - 9000, run_id="x")
    assert verdict.numbers(more(sound, before))["lateness_s"] == told["lateness_s"]
    assert told["lateness_s"] == {"n": 8, "p50": 0.01, "p95": 0.01, "p99": 0.01, "max": 0.01}


def test_a_spread_of_none_one_and_many() -> None:
    assert verdict.spread([]) == {"n": 0}
    assert verdict.spread([2.0]) == {"n": 1, "p50": 2.0, "p95": 2.0, "p99": 2.0, "max": 2.0}
    assert verdict.spread([float(n) for n in range(101)]) == {"n": 101, "p50": 50, "p95": 95, "p99": 99, "max": 100}


def an_arrival(job: str, wall: float, **fields: Any) -> Arrival:
    known = Arrival(
        at=moment(wall),
        monotonic=0.0,
        queue="celery",
        task="faults.work",
        id=f"{job} {wall}",
        args=[job, 0.01],
        kwargs={},
        pid=1,
        redelivered=False,
        headers={},
    )
    return replace(known, **fields)


TENS = (Planned("a", Grid.CLOCK, 10_000, 0.0), Planned("b", Grid.CLOCK, 10_000, 0.0))


def three_periods() -> list[Arrival]:
    return [an_arrival(job.name, START + 10_000 * n + 30) for n in range(4) for job in TENS]


def told_of(rows: list[Arrival], until: int = START + 40_000) -> dict[str, Any]:
    told = ending.told_by_time(rows, TENS, until)
    return {name: told[name] for name in ("slots", "messages", "lost", "doubled")}


def test_a_peers_fires_are_told_by_their_time() -> None:
    told = ending.told_by_time(three_periods(), TENS, START + 40_000)

    assert told_of(three_periods()) == {"slots": 6, "messages": 8, "lost": 0, "doubled": 0}
    assert told["lateness_s"] == {"n": 6, "p50": 0.03, "p95": 0.03, "p99": 0.03, "max": 0.03}


def test_a_peers_missing_message_is_lost_and_a_second_one_doubled() -> None:
    rows = [row for row in three_periods() if row.id != f"a {START + 20_030}"]
    rows.append(an_arrival("b", START + 14_000))
    told = ending.told_by_time(rows, TENS, START + 40_000)

    assert told["witnesses"] == {"lost": [f"a at {START + 20_000}"], "doubled": [f"b at {START + 10_000}: 2 messages"]}
    assert told_of(rows) == {"slots": 6, "messages": 8, "lost": 1, "doubled": 1}


def test_a_peers_job_that_never_fires_is_lost_each_time() -> None:
    assert told_of([row for row in three_periods() if row.args == ["a", 0.01]])["lost"] == 3


def test_a_peers_message_a_moment_early_is_of_the_next_fire() -> None:
    rows = [row for row in three_periods() if row.id != f"a {START + 20_030}"]

    assert told_of([*rows, an_arrival("a", START + 19_990)]) == {"slots": 6, "messages": 8, "lost": 0, "doubled": 0}


def test_a_peers_redelivery_is_no_message_and_its_last_period_is_not_judged() -> None:
    rows = [*three_periods(), an_arrival("a", START + 14_000, redelivered=True)]

    assert told_of(rows, START + 39_999) == {"slots": 4, "messages": 8, "lost": 0, "doubled": 0}


def test_a_peer_that_sends_nothing_has_no_slots() -> None:
    assert told_of([]) == {"slots": 0, "messages": 0, "lost": 0, "doubled": 0}


def test_a_message_is_read_with_its_fire_and_its_retries() -> None:
    header = {"job": "tick", "fire": START, "kind": "scheduled"}
    fired = ending.message_of(an_arrival("x", START, headers={"legion": header, "retries": 2}))
    pushed = ending.message_of(an_arrival("x", START, headers={"legion": {**header, "kind": "pushed"}}))
    foreign = ending.message_of(an_arrival("x", START))

    assert (fired.job, fired.fire, fired.retries) == ("tick", START, 2)
    assert (pushed.job, pushed.fire, pushed.retries) == ("tick", None, 0)
    assert (foreign.job, foreign.fire) == ("x", None)


def test_faults_of_workers_excuse_no_leader_and_those_under_an_epoch_are_the_notes_to_tell() -> None:
    timeline = [
        {"wall": 100.0, "fault": "kill", "role": "worker"},
        {"wall": 200.0, "fault": "drop", "who": ["worker"], "until": 203.0},
        {"wall": 300.0, "fault": "no workers", "until": 310.0},
        {"wall": 400.0, "fault": "drop", "who": ["beat", "worker"], "until": 401.0},
        {"wall": 500.0, "fault": "kill", "role": "beat"},
        {"wall": 600.0, "fault": "claimed", "epoch": 3},
    ]

    assert ending.windows(timeline, 2.0, workers=True) == [(99_500, 102_000), (199_500, 205_000), (299_500, 312_000)]
    assert ending.windows(timeline, 2.0, workers=False) == [(399_500, 403_000), (499_500, 502_000)]


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
