"""Store conformance: interruptions of runs, and messages that are refused since they are not their run's."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from celery_legion.run import Kind, State
from celery_legion.stores.base import Admission, Granted, Interruption, Kept, Outcome, Renewal, Retention, Store
from celery_legion.testing.conformance_case import (
    KEEP,
    LONG,
    NO_TIME,
    SUCCESS,
    Advancing,
    Case,
    Keeping,
    complete,
    dispatch,
    fire,
    grant,
    holders,
    know,
    minute,
    pushed,
    record,
    run,
    start,
    ticket,
    verdict_of,
)
from celery_legion.testing.conformance_hooks import owed_for, owing
from celery_legion.testing.conformance_leases import kept

TERM = 15
GRACE = timedelta(seconds=5)


def stop(store: Store, run_id: str = "job-1") -> tuple[State, str | None]:
    """Ask for the end of a run that is known; returns its state and reason then."""
    found = store.interrupt(run_id, TERM, GRACE)
    assert found is not None
    assert found == store.get(run_id)
    return verdict_of(found)


class InterruptConformance(Case):
    """``interrupt``, ``interruption`` and ``refuse``."""

    def test_an_unknown_run_cannot_be_interrupted(self, store: Store) -> None:
        assert store.interrupt("nobody", TERM, GRACE) is None
        assert store.interruption("nobody") is None
        assert store.refuse("nobody", 0, "why") is False
        assert store.get("nobody") is None

    @pytest.mark.parametrize("confirmed", [False, True])
    def test_a_run_that_has_not_begun_ends_at_once(self, store: Store, confirmed: bool) -> None:
        know(store)
        grant(store, fire(1))
        if confirmed:
            store.sent(["job-1"])
        assert stop(store) == stop(store) == (State.INTERRUPTED, "revoked")
        assert record(store, fire(1)).ended_at is not None
        assert (store.locks(), store.unsent(NO_TIME, 10)) == ([], [])
        assert store.begin(ticket(fire(1))).admission is Admission.DUPLICATE
        assert grant(store, fire(2)) == [Granted.RUN]

    def test_a_run_that_waits_for_its_retry_ends_at_once(self, store: Store) -> None:
        know(store)
        token = run(store, owing(fire(1), State.INTERRUPTED))
        store.park("job-1", token, store.now(), 1)
        assert stop(store) == (State.INTERRUPTED, "revoked")
        assert store.locks() == []
        assert owed_for(store) == [("job-1", State.INTERRUPTED, "revoked")]
        assert store.begin(replace(ticket(fire(1), "retry"), retries=1)).admission is Admission.DUPLICATE

    def test_a_run_that_runs_goes_on_until_it_is_told(self, store: Store) -> None:
        know(store)
        token = run(store, owing(fire(1)))
        before = record(store, fire(1))
        assert store.interruption("job-1") is None
        assert store.interrupt("job-1", TERM, GRACE) == before
        assert store.interruption("job-1") == Interruption(signal=TERM, grace=GRACE)
        assert holders(store) == ["job-1"]
        assert owed_for(store) == []
        assert kept(store, "job-1", token) is Kept.INTERRUPT

    @pytest.mark.parametrize("outcome", [SUCCESS, Outcome(state=State.FAILED, reason="time_limit")])
    def test_a_run_that_has_ended_stays_as_it_is(self, store: Store, outcome: Outcome) -> None:
        know(store)
        complete(store, fire(1), outcome)
        before = record(store, fire(1))
        assert store.interrupt("job-1", TERM, GRACE) == before
        assert store.get("job-1") == before
        assert store.interruption("job-1") is None

    def test_an_unwatched_run_that_was_sent_stays_as_it_is(self, store: Store) -> None:
        know(store)
        dispatch(store, replace(fire(1), watched=False))
        assert stop(store) == (State.SENT, "unwatched")

    def test_a_run_that_shall_be_interrupted_keeps_its_lease(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, fire(1))
        token = start(store, replace(ticket(fire(1)), lease=3 * self.tick))
        stop(store)
        assert kept(store, "job-1", token) is Kept.INTERRUPT
        clock.advance(4 * self.tick)
        assert store.reap(10) == []
        assert grant(store, fire(2)) == [Granted.OVERLAP]
        assert kept(store, "job-1", token, accepted=True) is Kept.INTERRUPT

    def test_it_is_told_until_it_has_ended(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        stop(store)
        assert [kept(store, "job-1", token) for _ in range(2)] == [Kept.INTERRUPT] * 2
        assert store.end("job-1", token, Outcome(state=State.INTERRUPTED, reason="terminated"), KEEP) is True
        assert kept(store, "job-1", token) is Kept.LOST
        assert store.interruption("job-1") is None

    def test_it_is_told_until_the_interruption_is_refused(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        stop(store)
        assert store.refuse("job-1", token, "threads cannot be ended") is True
        assert kept(store, "job-1", token) is Kept.OK
        found = store.interruption("job-1")
        assert found is not None
        assert found.refused == "threads cannot be ended"
        assert record(store, fire(1)).state is State.RUNNING
        assert store.refuse("job-1", token, "threads cannot be ended") is True

    def test_only_the_current_token_refuses_what_is_asked(self, store: Store) -> None:
        know(store, "job", "other")
        token, other = run(store, fire(1)), run(store, fire(1, "other"))
        stop(store)
        for wrong in (0, token + 100):
            assert store.refuse("job-1", wrong, "why") is False
        assert store.interruption("job-1") == Interruption(signal=TERM, grace=GRACE)
        assert store.refuse("other-1", other, "why") is False
        assert store.interruption("other-1") is None
        assert kept(store, "job-1", token) is Kept.INTERRUPT

    def test_after_a_refusal_it_may_be_asked_again(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        stop(store)
        store.refuse("job-1", token, "why")
        stop(store)
        assert store.interruption("job-1") == Interruption(signal=TERM, grace=GRACE)
        assert kept(store, "job-1", token) is Kept.INTERRUPT

    def test_only_its_own_renewal_is_told(self, store: Store) -> None:
        know(store, "job", "other")
        token, other = run(store, fire(1)), run(store, fire(1, "other"))
        stop(store)
        assert kept(store, "other-1", other) is Kept.OK
        assert kept(store, "job-1", token + 100) is Kept.LOST

    def test_a_run_that_shall_be_interrupted_ends_instead_of_being_parked(self, store: Store) -> None:
        know(store)
        token = run(store, owing(fire(1), State.INTERRUPTED))
        stop(store)
        assert store.park("job-1", token + 100, store.now(), 1) is False
        assert record(store, fire(1)).state is State.RUNNING
        assert store.park("job-1", token, store.now() + LONG, 1) is True
        assert record(store, fire(1)).state is State.INTERRUPTED
        assert store.locks() == []
        assert [(owed[0], owed[1]) for owed in owed_for(store)] == [("job-1", State.INTERRUPTED)]
        assert store.begin(replace(ticket(fire(1), "retry"), retries=1)).admission is Admission.DUPLICATE

    def test_a_run_whose_interruption_was_refused_is_parked(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        stop(store)
        store.refuse("job-1", token, "why")
        assert store.park("job-1", token, store.now(), 1) is True
        assert record(store, fire(1)).state is State.RETRYING

    @pytest.mark.parametrize("late", [False, True])
    def test_a_run_that_was_handed_back_under_an_interruption_begins_no_more(self, store: Store, late: bool) -> None:
        know(store)
        dispatch(store, owing(fire(1), State.INTERRUPTED))
        start(store, replace(ticket(fire(1)), late=late))
        stop(store)
        assert store.hand_back("worker-1") == ["job-1"]
        again = replace(ticket(fire(1), "delivery-2", "worker-2"), late=late, redelivered=True)
        assert store.begin(again).admission is Admission.DUPLICATE
        assert record(store, fire(1)).state is State.INTERRUPTED
        assert [(owed[0], owed[1]) for owed in owed_for(store)] == [("job-1", State.INTERRUPTED)]
        assert store.locks() == []

    def test_a_run_whose_lease_ended_under_an_interruption_begins_no_more(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, fire(1))
        start(store, replace(ticket(fire(1)), lease=self.tick, late=True))
        stop(store)
        clock.advance(2 * self.tick)
        again = replace(ticket(fire(1), "delivery-2", "worker-2"), late=True, redelivered=True)
        assert store.begin(again).admission is Admission.DUPLICATE
        assert record(store, fire(1)).state is State.INTERRUPTED

    def test_the_process_that_executes_a_run_is_known_from_its_renewals(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        assert record(store, fire(1)).pid is None
        store.renew("worker-1", [Renewal(id="job-1", token=token, accepted=True, pid=4321)], LONG)
        assert record(store, fire(1)).pid == 4321
        store.renew("worker-1", [Renewal(id="job-1", token=token, accepted=True)], LONG)
        store.renew("worker-2", [Renewal(id="job-1", token=token + 100, accepted=True, pid=5)], LONG)
        assert record(store, fire(1)).pid == 4321
        store.end("job-1", token, SUCCESS, KEEP)
        assert record(store, fire(1)).pid == 4321


class RefusedConformance(Case):
    """Messages that ``begin`` refuses."""

    @pytest.mark.parametrize("reached", [State.CLAIMED, State.SENT, State.RUNNING, State.RETRYING, State.SUCCEEDED])
    def test_a_message_of_another_job_is_refused_and_changes_nothing(self, store: Store, reached: State) -> None:
        know(store, "job", "other")
        grant(store, fire(1))
        if reached is not State.CLAIMED:
            store.sent(["job-1"])
        if reached in (State.RUNNING, State.RETRYING, State.SUCCEEDED):
            token = start(store, ticket(fire(1)))
            if reached is State.RETRYING:
                store.park("job-1", token, store.now(), 1)
            elif reached is State.SUCCEEDED:
                store.end("job-1", token, SUCCESS, KEEP)
        before, held = record(store, fire(1)), holders(store)
        asked = replace(ticket(fire(1)), job="other", lock="other")
        assert store.begin(asked).admission is Admission.REFUSED
        assert store.begin(replace(asked, known=True, retries=1)).admission is Admission.REFUSED
        assert (record(store, fire(1)), holders(store), holders(store, "other")) == (before, held, [])
        assert store.states(["other"])["other"].mark == minute(0)
        assert store.runs("other", 10) == []

    @pytest.mark.parametrize("kind", [Kind.SCHEDULED, Kind.PUSHED])
    def test_a_run_that_must_be_known_and_is_not_is_refused(self, store: Store, kind: Kind) -> None:
        know(store)
        asked = replace(ticket(fire(5)), kind=kind, known=True, owes=frozenset(State))
        assert store.begin(asked).admission is Admission.REFUSED
        assert (store.get("job-5"), store.runs("job", 10), store.locks()) == (None, [], [])
        assert store.states(["job"])["job"].mark == minute(0)
        assert owed_for(store) == []
        assert store.begin(replace(asked, known=False)).admission is Admission.GO

    def test_a_run_that_must_be_known_and_is_begins(self, store: Store) -> None:
        know(store)
        dispatch(store, pushed("push-1"))
        assert store.begin(replace(ticket(pushed("push-1")), known=True)).admission is Admission.GO

    def test_a_run_that_must_be_known_and_is_only_remembered_as_done_is_a_duplicate(self, keeping: Keeping) -> None:
        store = keeping(Retention(total=0))
        know(store)
        complete(store, fire(1))
        store.reap(10)
        assert store.get("job-1") is None
        asked = replace(ticket(fire(1), "delivery-2"), known=True)
        assert store.begin(asked).admission is Admission.DUPLICATE
