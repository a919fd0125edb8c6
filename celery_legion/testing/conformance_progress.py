"""Store conformance: what runs have written so far, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from celery_legion.run import State
from celery_legion.stores.base import Claim, Kept, Outcome, Renewal, Retention, Store, debt_id
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
    id_of,
    know,
    record,
    run,
    start,
    ticket,
    verdict_of,
)
from celery_legion.testing.conformance_outputs import DENSE, FAILURE, write, wrote


def progress(store: Store, claim: Claim, output: str = "so far") -> int:
    """Run a claim that writes something; returns its token."""
    token = run(store, claim)
    assert store.progress(id_of(claim), token, output) is True
    return token


def lose(store: Store, clock: Advancing, tick: timedelta, claim: Claim, output: str = "so far") -> int:
    """Let a run write something and its process die; returns its token."""
    dispatch(store, claim)
    token = start(store, replace(ticket(claim), lease=tick))
    assert store.progress(id_of(claim), token, output) is True
    clock.advance(2 * tick)
    assert [lost.id for lost in store.reap(10)] == [id_of(claim)]
    return token


def park(store: Store, claim: Claim, token: int) -> None:
    """Let a run wait for its first retry, which is due."""
    assert store.park(id_of(claim), token, store.now(), 1) is True


def again(store: Store, claim: Claim) -> int:
    """Begin a parked run's first retry; returns its token."""
    return start(store, replace(ticket(claim, "retry"), retries=1))


class ProgressConformance(Case):
    """``progress``."""

    def test_what_a_run_has_written_so_far_is_in_its_record(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        before = record(store, fire(1))
        assert store.progress("job-1", token, "so far") is True
        found = replace(before, output="so far")
        assert record(store, fire(1)) == found
        assert store.runs("job", 1) == store.runs(None, 1) == store.running() == [found]

    @pytest.mark.parametrize("output", ["z", "t", "z" * 2000, "naïve – 日本 🜁\r\n", "\x00\x1b[0m", DENSE])
    def test_it_comes_back_as_it_was_written(self, store: Store, output: str) -> None:
        know(store)
        progress(store, fire(1), output)
        assert record(store, fire(1)).output == output

    def test_the_next_takes_the_place_of_the_last(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        for output in ("one", "one", "one, two", "two", DENSE, "t"):
            assert store.progress("job-1", token, output) is True
            assert record(store, fire(1)).output == output

    def test_nothing_written_changes_nothing(self, store: Store) -> None:
        know(store)
        token = progress(store, fire(1))
        store.progress("job-1", token, "")
        assert record(store, fire(1)).output == "so far"

    def test_it_outlasts_renewals_and_a_delivery_that_asks_again(self, store: Store) -> None:
        know(store)
        token = progress(store, fire(1))
        assert store.renew("worker-1", [Renewal(id="job-1", token=token, accepted=True)], LONG) == {"job-1": Kept.OK}
        assert start(store, ticket(fire(1))) == token
        assert record(store, fire(1)).output == "so far"

    def test_a_run_that_has_not_begun_makes_none(self, store: Store) -> None:
        know(store)
        assert store.progress("job-1", 0, "tail") is False
        dispatch(store, fire(1))
        before = record(store, fire(1))
        for token in (0, 1):
            assert store.progress("job-1", token, "tail") is False
        assert record(store, fire(1)) == before

    def test_only_the_current_token_makes_any(self, store: Store) -> None:
        know(store)
        first = progress(store, fire(1))
        park(store, fire(1), first)
        token = again(store, fire(1))
        assert store.progress("job-1", token, "of the retry") is True
        for wrong in (0, first, token + 1, -1):
            assert store.progress("job-1", wrong, "wrong") is False
        assert store.progress("nobody", token, "wrong") is False
        assert record(store, fire(1)).output == "of the retry"

    @pytest.mark.parametrize("outcome", [SUCCESS, FAILURE, replace(SUCCESS, output="tail")])
    def test_an_ended_run_makes_none(self, store: Store, outcome: Outcome) -> None:
        know(store)
        token = progress(store, fire(1))
        assert store.end("job-1", token, outcome, KEEP) is True
        before = record(store, fire(1))
        assert store.progress("job-1", token, "late") is False
        assert record(store, fire(1)) == before

    def test_a_parked_run_makes_none_and_keeps_what_it_has(self, store: Store) -> None:
        know(store)
        token = progress(store, fire(1))
        park(store, fire(1), token)
        assert store.progress("job-1", token, "late") is False
        assert record(store, fire(1)).output == "so far"

    def test_the_next_attempt_begins_with_none(self, store: Store) -> None:
        know(store)
        token = progress(store, fire(1))
        park(store, fire(1), token)
        again(store, fire(1))
        assert record(store, fire(1)).output is None
        assert wrote(store) == {}

    def test_a_run_that_was_handed_back_makes_none(self, store: Store) -> None:
        know(store)
        token = progress(store, fire(1))
        assert store.hand_back("worker-1") == ["job-1"]
        for late in (0, token):
            assert store.progress("job-1", late, "late") is False
        assert start(store, ticket(fire(1), "delivery-2")) > token
        assert record(store, fire(1)).output is None

    def test_a_lost_run_keeps_it_and_makes_no_more(self, store: Store, clock: Advancing) -> None:
        know(store)
        token = lose(store, clock, self.tick, replace(fire(1), owes=frozenset({State.LOST})))
        found = record(store, fire(1))
        assert verdict_of(found) == (State.LOST, "process_lost")
        assert found.output == "so far"
        assert [debt.record for debt in store.owed(1, LONG)] == [found]
        assert store.progress("job-1", token, "late") is False
        assert record(store, fire(1)) == found

    def test_a_lost_run_that_was_parked_keeps_it(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, fire(1))
        token = start(store, replace(ticket(fire(1)), lease=self.tick))
        store.progress("job-1", token, "so far")
        park(store, fire(1), token)
        clock.advance(2 * self.tick)
        assert [lost.output for lost in store.reap(10)] == ["so far"]

    def test_a_run_that_shall_be_interrupted_still_makes_some_and_keeps_it(self, store: Store) -> None:
        know(store)
        token = progress(store, fire(1))
        store.interrupt("job-1", 15, LONG)
        assert store.progress("job-1", token, "its last words") is True
        park(store, fire(1), token)
        found = record(store, fire(1))
        assert (found.state, found.output) == (State.INTERRUPTED, "its last words")
        assert store.progress("job-1", token, "late") is False

    def test_an_end_without_output_keeps_it(self, store: Store) -> None:
        know(store)
        token = progress(store, fire(1))
        assert store.end("job-1", token, SUCCESS, KEEP) is True
        assert record(store, fire(1)).output == "so far"

    @pytest.mark.parametrize("outcome", [SUCCESS, FAILURE])
    def test_the_ends_output_takes_its_place_for_good(self, store: Store, outcome: Outcome) -> None:
        know(store)
        token = progress(store, replace(fire(1), owes=frozenset({outcome.state})))
        assert store.end("job-1", token, replace(outcome, output="tail"), KEEP) is True
        assert store.leave("job-1", token, 0, "of the leave") is True
        found = record(store, fire(1))
        assert found.output == "tail"
        assert [debt.record.output for debt in store.owed(1, LONG)] == ["tail"]

    @pytest.mark.parametrize("outcome", [SUCCESS, FAILURE])
    @pytest.mark.parametrize("ended", [False, True])
    def test_the_leaves_output_takes_its_place_for_good(self, store: Store, outcome: Outcome, ended: bool) -> None:
        know(store)
        token = progress(store, fire(1))
        if ended:
            assert store.end("job-1", token, outcome, KEEP) is True
        assert store.leave("job-1", token, 0, "tail") is True
        assert store.leave("job-1", token, 0, "another") is True
        if not ended:
            assert store.end("job-1", token, outcome, KEEP) is True
        assert record(store, fire(1)).output == "tail"

    def test_a_leave_without_output_keeps_it(self, store: Store) -> None:
        know(store)
        token = progress(store, fire(1))
        assert store.leave("job-1", token, -9, None) is True
        assert record(store, fire(1)).output == "so far"
        assert store.end("job-1", token, FAILURE, KEEP) is True
        found = record(store, fire(1))
        assert (found.exit_code, found.output) == (-9, "so far")

    def test_a_lost_run_that_is_left_has_what_the_leave_gave(self, store: Store, clock: Advancing) -> None:
        know(store)
        token = lose(store, clock, self.tick, fire(1))
        assert store.leave("job-1", token, 0, "tail") is True
        found = record(store, fire(1))
        assert (found.state, found.exit_code, found.output) == (State.LOST, 0, "tail")

    def test_what_comes_after_the_leave_does_not_take_its_place(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        assert store.leave("job-1", token, 0, "tail") is True
        store.progress("job-1", token, "so far")
        assert record(store, fire(1)).output == "tail"

    def test_hooks_that_begin_after_the_leave_see_what_it_gave(self, store: Store) -> None:
        know(store)
        token = progress(store, replace(fire(1), owes=frozenset({State.FAILED})))
        assert store.end("job-1", token, FAILURE, KEEP) is True
        assert store.leave("job-1", token, -9, "tail") is True
        taken = store.take(debt_id("job-1", token), "hand-1", LONG)
        assert taken is not None
        assert (taken.record.exit_code, taken.record.output) == (-9, "tail")


class PartialConformance(Case):
    """How much is kept of what runs have written so far."""

    def test_it_counts_to_a_jobs_five_newest_once(self, store: Store) -> None:
        know(store)
        for number in range(1, 6):
            write(store, number)
        token = progress(store, fire(6))
        for number in range(10):
            store.progress("job-6", token, f"line {number}")
        assert sorted(wrote(store)) == [2, 3, 4, 5, 6]
        assert store.end("job-6", token, replace(SUCCESS, output="tail"), KEEP) is True
        assert sorted(wrote(store)) == [2, 3, 4, 5, 6]

    def test_the_last_failure_is_spared_while_others_write(self, store: Store) -> None:
        know(store)
        write(store, 1, outcome=FAILURE)
        for number in range(2, 10):
            token = progress(store, fire(number))
            assert sorted(wrote(store))[0] == 1
            store.end(f"job-{number}", token, SUCCESS, KEEP)
        assert sorted(wrote(store)) == [1, 5, 6, 7, 8, 9]

    def test_a_lost_run_is_the_last_failure(self, store: Store, clock: Advancing) -> None:
        know(store)
        write(store, 1, outcome=FAILURE)
        lose(store, clock, self.tick, fire(2), "last words")
        for number in range(3, 9):
            write(store, number)
        assert sorted(wrote(store)) == [2, 4, 5, 6, 7, 8]
        assert wrote(store)[2] == "last words"

    @pytest.mark.parametrize("left", [False, True])
    def test_a_run_that_failed_with_no_more_than_it_is_the_last_failure(self, store: Store, left: bool) -> None:
        know(store)
        write(store, 1, outcome=FAILURE)
        token = progress(store, fire(2))
        store.end("job-2", token, FAILURE, KEEP)
        if left:
            store.leave("job-2", token, 1, "tail")
        for number in range(3, 9):
            write(store, number)
        assert sorted(wrote(store)) == [2, 4, 5, 6, 7, 8]

    @pytest.mark.parametrize("left", [None, "before", "after"])
    @pytest.mark.parametrize("output", [None, "tail"])
    def test_a_run_that_succeeded_is_not_the_last_failure(
        self, store: Store, output: str | None, left: str | None
    ) -> None:
        know(store)
        write(store, 1, outcome=FAILURE)
        token = progress(store, fire(2))
        if left == "before":
            store.leave("job-2", token, 0, "of the leave")
        store.end("job-2", token, replace(SUCCESS, output=output), KEEP)
        if left == "after":
            store.leave("job-2", token, 0, "of the leave")
        for number in range(3, 9):
            write(store, number)
        assert sorted(wrote(store)) == [1, 4, 5, 6, 7, 8]

    def test_a_retry_takes_it_out_of_the_last_failures_way(self, store: Store) -> None:
        know(store)
        write(store, 1, outcome=FAILURE)
        token = progress(store, fire(2))
        park(store, fire(2), token)
        token = again(store, fire(2))
        store.end("job-2", token, FAILURE, KEEP)
        for number in range(3, 9):
            write(store, number)
        assert sorted(wrote(store)) == [1, 4, 5, 6, 7, 8]

    def test_how_many_are_kept_is_the_stores_retention(self, keeping: Keeping) -> None:
        store = keeping(Retention(outputs=1))
        know(store)
        for number in (1, 2, 3):
            store.end(f"job-{number}", progress(store, fire(number)), SUCCESS, KEEP)
        assert list(wrote(store)) == [3]

    def test_a_run_that_lost_it_to_another_can_make_more(self, keeping: Keeping) -> None:
        store = keeping(Retention(outputs=1))
        know(store)
        first, second = (replace(fire(number), limit=2) for number in (1, 2))
        token = progress(store, first)
        progress(store, second)
        assert sorted(wrote(store)) == [2]
        assert store.progress("job-1", token, "more") is True
        assert wrote(store) == {1: "more"}

    def test_beyond_the_total_what_was_written_longest_ago_is_dropped(self, keeping: Keeping, clock: Advancing) -> None:
        store = keeping(Retention(output_total=250))
        names = ("c", "b", "a")
        know(store, *names)
        tokens = {}
        for name in names:
            clock.advance(self.tick)
            tokens[name] = progress(store, fire(1, name), DENSE)
        assert [wrote(store, name) for name in names] == [{}, {1: DENSE}, {1: DENSE}]
        assert record(store, fire(1, "c")).state is State.RUNNING
        clock.advance(self.tick)
        assert store.progress("c-1", tokens["c"], DENSE) is True
        assert [wrote(store, name) for name in names] == [{1: DENSE}, {}, {1: DENSE}]

    def test_what_was_replaced_does_not_count_to_the_total(self, keeping: Keeping, clock: Advancing) -> None:
        retention = Retention(output_total=200)
        store = keeping(retention)
        know(store, "job", "other")
        store.end("other-1", run(store, fire(1, "other")), replace(SUCCESS, output=DENSE), retention)
        clock.advance(self.tick)
        token = run(store, fire(1))
        for _ in range(3):
            assert store.progress("job-1", token, DENSE) is True
        park(store, fire(1), token)
        token = again(store, fire(1))
        assert store.progress("job-1", token, DENSE) is True
        store.end("job-1", token, replace(SUCCESS, output=DENSE), retention)
        assert (wrote(store, "other"), wrote(store)) == ({1: DENSE}, {1: DENSE})

    def test_what_was_trimmed_of_lost_runs_does_not_count_to_the_total(
        self, keeping: Keeping, clock: Advancing
    ) -> None:
        store = keeping(Retention(size=1, output_total=200))
        know(store, "job", "other")
        progress(store, fire(1, "other"), DENSE)
        for number in (1, 2, 3):
            lose(store, clock, self.tick, fire(number), DENSE)
        assert (wrote(store, "other"), wrote(store)) == ({1: DENSE}, {3: DENSE})

    def test_what_does_not_fit_at_all_leaves_none_until_less_comes(self, keeping: Keeping) -> None:
        store = keeping(Retention(output_total=100))
        know(store)
        token = progress(store, fire(1), DENSE + DENSE[::-1])
        assert record(store, fire(1)).output is None
        assert store.progress("job-1", token, DENSE) is True
        assert record(store, fire(1)).output == DENSE

    def test_what_did_not_fit_takes_no_failures_place(self, keeping: Keeping, clock: Advancing) -> None:
        retention = Retention(outputs=1, output_total=100)
        store = keeping(retention)
        know(store)
        first, second, third = (replace(fire(number), limit=2) for number in (1, 2, 3))
        dispatch(store, first)
        token = start(store, replace(ticket(first), lease=3 * self.tick))
        assert store.progress("job-1", token, DENSE + DENSE[::-1]) is True
        store.end("job-2", run(store, second), replace(FAILURE, output="tail"), retention)
        clock.advance(4 * self.tick)
        assert [lost.id for lost in store.reap(10)] == ["job-1"]
        store.end("job-3", run(store, third), replace(SUCCESS, output="fine"), retention)
        assert sorted(wrote(store)) == [2, 3]

    def test_a_job_has_its_own_five_whatever_others_write(self, store: Store) -> None:
        know(store, "job", "other")
        complete(store, fire(1), replace(SUCCESS, output="tail"))
        for number in range(1, 10):
            store.end(f"other-{number}", progress(store, fire(number, "other")), SUCCESS, KEEP)
        assert wrote(store) == {1: "tail"}
        assert sorted(wrote(store, "other")) == [5, 6, 7, 8, 9]
