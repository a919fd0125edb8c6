"""Executions are read from the lines that tasks wrote."""

from __future__ import annotations

from tests.faults.evidence import read_executions
from tests.faults.sound import START


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
