"""The oracle of messages sees what it is there to see."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from celery_legion.run import State
from tests.faults import oracle, verdict, wire
from tests.faults.evidence import Evidence
from tests.faults.sound import START
from tests.faults.traffic import first_of, more

HIT = {"event": "hit", "epoch": 1, "wall": START / 1000 + 2, "mono": 102.0}


def asked(evidence: Evidence) -> dict[str, int]:
    asks = (wire.unsent, wire.doubly_sent, wire.storming, wire.phantom, wire.silent, wire.residue)
    return {ask.__name__: len(found) for ask in asks if (found := ask(evidence))}


def without(evidence: Evidence, fire: int) -> Evidence:
    """Take a fire's message and execution away, not its record."""
    return replace(
        evidence,
        messages=[one for one in evidence.messages or () if one.fire != fire],
        executions=[one for one in evidence.executions if one.fire != fire],
    )


def test_nothing_is_found_where_nothing_is_wrong(heard: Evidence) -> None:
    assert asked(heard) == {}
    assert {name: found for name, found in verdict.judge(heard).items() if found} == {}


def test_a_run_whose_message_never_came_is_unsent(heard: Evidence) -> None:
    assert asked(without(heard, START + 3000)) == {"unsent": 1}


def test_a_run_that_was_executed_was_sent(heard: Evidence) -> None:
    assert asked(replace(heard, messages=[one for one in heard.messages or () if one.fire != START + 3000])) == {}


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
    heard: Evidence, gap: tuple[float, float], found: dict[str, int]
) -> None:
    assert asked(replace(without(heard, START + 3000), gaps=[gap])) == found


@pytest.mark.parametrize("state", [State.SKIPPED, State.MISSED, State.EXPIRED])
def test_what_the_ledger_does_not_call_sent_needs_no_message(heard: Evidence, state: State) -> None:
    changed = without(heard, START + 1000)
    tick = [replace(heard.records["tick"][0], state=state), *heard.records["tick"][1:]]

    assert asked(replace(changed, records={**heard.records, "tick": tick})) == {}


def test_messages_of_two_runs_of_one_fire_are_doubly_sent(heard: Evidence) -> None:
    assert asked(more(heard, replace(first_of(heard), run_id="another"))) == {"doubly_sent": 1}


def test_pushes_are_of_no_fire(heard: Evidence) -> None:
    pushed = replace(first_of(heard), fire=None)

    assert asked(more(heard, replace(pushed, run_id="a"), replace(pushed, run_id="b"))) == {}


def test_a_copy_without_any_fault_is_a_storm(heard: Evidence) -> None:
    assert asked(more(heard, first_of(heard))) == {"storming": 1}


def test_faults_explain_some_copies_and_not_any_number(heard: Evidence) -> None:
    harmed = replace(heard, notes=[*heard.notes, HIT])
    copies = [first_of(heard)] * (wire.COPIES - 1)

    assert asked(more(harmed, *copies)) == {}
    assert asked(more(harmed, *copies, first_of(heard))) == {"storming": 1}


def test_redeliveries_and_retries_are_no_copies(heard: Evidence) -> None:
    one = first_of(heard)

    assert asked(more(heard, *[replace(one, redelivered=True)] * 20, *[replace(one, retries=3)] * 20)) == {}


def test_a_message_of_no_fire_is_a_phantom(heard: Evidence) -> None:
    assert asked(more(heard, replace(first_of(heard), fire=START + 1500, run_id="x"))) == {"phantom": 1}


def test_a_message_of_a_fire_before_the_schedule_was_seen_is_a_phantom(heard: Evidence) -> None:
    past = more(heard, replace(first_of(heard), fire=START - 1000, run_id="x"))

    assert asked(past) == {"phantom": 1}
    assert asked(replace(past, cut=True)) == {}


def test_a_message_before_its_time_is_a_phantom(heard: Evidence) -> None:
    def early(ms: float) -> Evidence:
        first, *others = heard.messages or ()
        return replace(heard, messages=[replace(first, wall=((first.fire or 0) - ms) / 1000), *others])

    assert asked(early(oracle.EARLY - 5)) == {}
    assert asked(early(oracle.EARLY + 5)) == {"phantom": 1}


def test_a_job_that_stands_still_after_the_last_fault_is_silent(heard: Evidence) -> None:
    stopped = replace(heard, records={**heard.records, "tick": heard.records["tick"][:2]})

    assert asked(replace(stopped, outages=[(START + 500, START + 2500)])) == {"silent": 1}
    assert asked(replace(stopped, harms=[(START + 500, START + 2500)])) == {"silent": 1}
    assert asked(replace(stopped, outages=[(START + 500, START + 4500)])) == {}


def test_strays_and_residue_are_told(heard: Evidence) -> None:
    assert asked(replace(heard, strays=["a beat ended"], residue=["a lock", "a run"])) == {"silent": 1, "residue": 2}


def test_where_nobody_listened_nothing_is_said_of_messages(heard: Evidence) -> None:
    assert asked(replace(heard, messages=None)) == {}
    assert verdict.numbers(replace(heard, messages=None))["messages"] == 0
