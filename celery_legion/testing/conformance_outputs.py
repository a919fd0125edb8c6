"""Store conformance: what runs wrote and how much of it is kept, and runs that were left by their process."""

from __future__ import annotations

from dataclasses import replace

import pytest

from celery_legion.run import State
from celery_legion.stores.base import Granted, Outcome, Retention, Store
from celery_legion.testing.conformance_case import (
    KEEP,
    LONG,
    SUCCESS,
    Advancing,
    Case,
    Keeping,
    complete,
    dispatch,
    fire,
    grant,
    holders,
    id_of,
    know,
    record,
    run,
    start,
    ticket,
)

FAILURE = Outcome(state=State.FAILED, reason="time_limit")
DYING = replace(FAILURE, dying=LONG)
DENSE = "".join(map(chr, range(33, 127)))
"""94 bytes that no compression makes fewer."""


def wrote(store: Store, job: str = "job") -> dict[int, str]:
    """Return what the store still has of what a job's runs wrote, by the fire's number."""
    found = [one for one in store.runs(job, 100) if one.id is not None and one.output is not None]
    return {int(str(one.id).removeprefix(f"{job}-")): str(one.output) for one in found}


def write(store: Store, number: int = 1, job: str = "job", outcome: Outcome = SUCCESS) -> None:
    """Let a run write its own name, and end."""
    complete(store, fire(number, job), replace(outcome, output=f"output of {job} {number}"))


class OutputConformance(Case):
    """What is kept of what runs wrote."""

    @pytest.mark.parametrize(
        "output",
        [
            "one line",
            "t",
            "tail of it",
            "z",
            "zebra",
            "zzzz" * 500,
            "t" * 2000,
            "eJwDAAAAAAE=",
            "a line of output, over and over\n" * 3000,
            "naïve – 日本 ✓ 🜁\r\n",
            "naïve – 日本 ✓ 🜁\n" * 300,
            "before\x00after\x01\x1b[0m\x7f",
            "\x00" * 1000,
            ' "quoted" \\ {"a": 1} \t ',
            DENSE,
        ],
        ids=lambda output: repr(output[:12]),
    )
    def test_an_output_comes_back_as_it_was_written(self, store: Store, output: str) -> None:
        know(store)
        claim = replace(fire(1), owes=frozenset({State.SUCCEEDED}))
        complete(store, claim, replace(SUCCESS, output=output))
        assert record(store, claim).output == output
        assert [found.output for found in store.runs("job", 1)] == [output]
        assert [debt.record.output for debt in store.owed(1, LONG)] == [output]

    def test_a_jobs_five_newest_are_kept(self, store: Store) -> None:
        know(store, "job", "other")
        write(store, 1, "other")
        for number in range(1, 8):
            write(store, number)
        assert wrote(store) == {number: f"output of job {number}" for number in range(3, 8)}
        assert wrote(store, "other") == {1: "output of other 1"}
        assert len(store.runs("job", 100)) == 7

    def test_the_last_failures_is_kept_beyond(self, store: Store) -> None:
        know(store)
        for number in range(1, 10):
            write(store, number, outcome=FAILURE if number in (1, 2) else SUCCESS)
        assert sorted(wrote(store)) == [2, 5, 6, 7, 8, 9]

    def test_a_newer_failure_takes_the_place_of_the_last(self, store: Store) -> None:
        know(store)
        for number in range(1, 15):
            write(store, number, outcome=FAILURE if number in (1, 8) else SUCCESS)
        assert sorted(wrote(store)) == [8, 10, 11, 12, 13, 14]

    def test_how_many_are_kept_is_the_retentions(self, keeping: Keeping) -> None:
        retention = Retention(outputs=1)
        store = keeping(retention)
        know(store)
        for number in (1, 2, 3):
            token = run(store, fire(number))
            store.end(f"job-{number}", token, replace(SUCCESS, output="tail"), retention)
        assert list(wrote(store)) == [3]

    def test_beyond_the_total_the_oldest_of_all_jobs_is_dropped(self, keeping: Keeping, clock: Advancing) -> None:
        retention = Retention(output_total=250)
        store = keeping(retention)
        names = ("c", "b", "a")
        know(store, *names)
        for name in names:
            token = run(store, fire(1, name))
            store.end(f"{name}-1", token, replace(SUCCESS, output=DENSE), retention)
            clock.advance(self.tick)
        assert [wrote(store, name) for name in names] == [{}, {1: DENSE}, {1: DENSE}]
        found = store.get("c-1")
        assert found is not None
        assert found.state is State.SUCCEEDED

    def test_what_a_left_run_wrote_counts_alike(self, keeping: Keeping, clock: Advancing) -> None:
        store = keeping(Retention(outputs=2, output_total=250))
        names = ("c", "b", "a")
        know(store, "job", *names)
        for number in (1, 2, 3):
            token = run(store, fire(number))
            store.end(f"job-{number}", token, SUCCESS, KEEP)
            store.leave(f"job-{number}", token, 0, "tail")
        assert sorted(wrote(store)) == [2, 3]
        for name in names:
            clock.advance(self.tick)
            store.leave(f"{name}-1", run(store, fire(1, name)), None, DENSE)
        assert [wrote(store, name) for name in names] == [{}, {1: DENSE}, {1: DENSE}]

    def test_what_was_trimmed_does_not_count_to_the_total(self, keeping: Keeping, clock: Advancing) -> None:
        retention = Retention(size=1, output_total=200)
        store = keeping(retention)
        know(store, "job", "other")
        for number, job in ((1, "other"), (1, "job"), (2, "job"), (3, "job")):
            claim = fire(number, job)
            token = run(store, claim)
            store.end(id_of(claim), token, replace(SUCCESS, output=DENSE), retention)
            clock.advance(self.tick)
        assert wrote(store, "other") == {1: DENSE}
        assert wrote(store) == {3: DENSE}


class LeaveConformance(Case):
    """``leave``."""

    def test_a_dying_runs_lock_is_free_when_it_is_left(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        store.end("job-1", token, DYING, KEEP)
        assert holders(store) == ["job-1"]
        assert store.leave("job-1", token, None, None) is True
        assert store.locks() == []
        assert grant(store, fire(2)) == [Granted.RUN]
        assert record(store, fire(1)).state is State.FAILED

    def test_an_end_after_it_keeps_no_lock(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        assert store.leave("job-1", token, None, None) is True
        assert record(store, fire(1)).state is State.RUNNING
        assert holders(store) == ["job-1"]
        assert store.end("job-1", token, DYING, KEEP) is True
        assert store.locks() == []

    def test_the_next_attempt_is_left_of_its_own(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        store.leave("job-1", token, None, None)
        store.park("job-1", token, store.now(), 1)
        token = start(store, replace(ticket(fire(1), "retry"), retries=1))
        store.end("job-1", token, DYING, KEEP)
        assert holders(store) == ["job-1"]

    def test_a_lock_that_is_anothers_stays(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, fire(1))
        token = start(store, replace(ticket(fire(1)), lease=self.tick))
        store.end("job-1", token, replace(FAILURE, dying=self.tick), KEEP)
        clock.advance(2 * self.tick)
        grant(store, fire(2))
        assert store.leave("job-1", token, None, None) is True
        assert holders(store) == ["job-2"]

    @pytest.mark.parametrize("ended", [False, True])
    def test_only_the_last_token_leaves_a_run(self, store: Store, ended: bool) -> None:
        know(store)
        first = run(store, fire(1))
        store.park("job-1", first, store.now(), 1)
        token = start(store, replace(ticket(fire(1), "retry"), retries=1))
        if ended:
            store.end("job-1", token, DYING, KEEP)
        before = record(store, fire(1))
        for wrong in (0, first, token + 100):
            assert store.leave("job-1", wrong, 1, "tail") is False
        assert store.leave("nobody", token, 1, "tail") is False
        assert record(store, fire(1)) == before
        if not ended:
            store.end("job-1", token, DYING, KEEP)
        assert holders(store) == ["job-1"]

    def test_exit_code_and_output_are_added_after_the_end(self, store: Store) -> None:
        know(store)
        complete(store, fire(1))
        before = record(store, fire(1))
        assert store.leave("job-1", before.token, 0, "tail") is True
        assert record(store, fire(1)) == replace(before, exit_code=0, output="tail")
        assert store.leave("job-1", before.token, 0, "tail") is True
        assert record(store, fire(1)) == replace(before, exit_code=0, output="tail")

    def test_exit_code_and_output_that_were_added_before_the_end_outlast_it(self, store: Store) -> None:
        know(store)
        token = run(store, replace(fire(1), owes=frozenset({State.FAILED})))
        assert store.leave("job-1", token, -15, "tail") is True
        found = record(store, fire(1))
        assert (found.state, found.exit_code, found.output) == (State.RUNNING, -15, "tail")
        assert store.end("job-1", token, FAILURE, KEEP) is True
        found = record(store, fire(1))
        assert (found.state, found.exit_code, found.output) == (State.FAILED, -15, "tail")
        assert [debt.record for debt in store.owed(1, LONG)] == [found]

    def test_those_that_the_end_gave_stay(self, store: Store) -> None:
        know(store, "code", "output")
        complete(store, fire(1, "code"), replace(SUCCESS, exit_code=0))
        complete(store, fire(1, "output"), replace(SUCCESS, output="of the end"))
        for name in ("code", "output"):
            assert store.leave(f"{name}-1", record(store, fire(1, name)).token, 3, "of the leave") is True
        found = [record(store, fire(1, name)) for name in ("code", "output")]
        assert [(one.exit_code, one.output) for one in found] == [(0, "of the leave"), (3, "of the end")]

    def test_nothing_is_added_where_nothing_is_given(self, store: Store) -> None:
        know(store)
        complete(store, fire(1), replace(FAILURE, exit_code=1, output="tail"))
        before = record(store, fire(1))
        assert store.leave("job-1", before.token, None, None) is True
        assert record(store, fire(1)) == before
