"""Store conformance: which message may run."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from celery_legion.run import State
from celery_legion.stores.base import Admission, Kept, Outcome, Renewal, Store
from celery_legion.testing.conformance_case import (
    KEEP,
    LONG,
    SUCCESS,
    Advancing,
    Case,
    complete,
    dispatch,
    fire,
    grant,
    holders,
    know,
    minute,
    record,
    run,
    start,
    ticket,
    verdict_of,
)

SHORTEST = timedelta(milliseconds=100)
LONGEST = timedelta(seconds=1)


class BeginConformance(Case):
    """The first message of a run, and its copies."""

    def test_a_sent_run_begins(self, store: Store) -> None:
        know(store)
        dispatch(store, fire(1))
        before = store.now()
        answer = store.begin(ticket(fire(1)))
        assert (answer.admission, answer.attempt, answer.previous_success) == (Admission.GO, 1, None)
        assert answer.token > 0
        found = record(store, fire(1))
        assert (found.state, found.attempt, found.token) == (State.RUNNING, 1, answer.token)
        assert found.worker == "worker-1"
        assert found.started_at is not None
        assert before <= found.started_at <= store.now()

    def test_a_claimed_run_begins_before_it_is_confirmed(self, store: Store) -> None:
        know(store)
        grant(store, fire(1))
        assert store.begin(ticket(fire(1))).admission is Admission.GO

    def test_tokens_grow(self, store: Store) -> None:
        know(store, "a", "b")
        assert run(store, fire(1, "a")) < run(store, fire(1, "b"))

    def test_the_same_delivery_gets_the_same_answer(self, store: Store) -> None:
        know(store)
        dispatch(store, fire(1))
        first = store.begin(ticket(fire(1)))
        assert store.begin(ticket(fire(1))) == first
        store.renew("worker-1", [Renewal(id="job-1", token=first.token, accepted=True)], LONG)
        assert store.begin(replace(ticket(fire(1)), redelivered=True)) == first

    def test_the_same_delivery_that_asks_again_has_its_whole_lease(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, fire(1))
        start(store, replace(ticket(fire(1)), lease=3 * self.tick))
        start(store, ticket(fire(1)))
        clock.advance(4 * self.tick)
        assert store.reap(10) == []
        assert holders(store) == ["job-1"]

    @pytest.mark.parametrize("redelivered", [False, True])
    @pytest.mark.parametrize(
        ("late", "accepted", "expected"),
        [
            (False, False, Admission.WAIT),
            (False, True, Admission.DUPLICATE),
            (True, False, Admission.WAIT),
            (True, True, Admission.WAIT),
        ],
    )
    def test_a_second_copy_waits_unless_the_first_is_acknowledged_early_and_accepted(
        self, store: Store, late: bool, accepted: bool, expected: Admission, redelivered: bool
    ) -> None:
        know(store)
        dispatch(store, fire(1))
        token = start(store, replace(ticket(fire(1)), late=late))
        store.renew("worker-1", [Renewal(id="job-1", token=token, accepted=accepted)], LONG)
        copy = replace(ticket(fire(1), "delivery-2"), late=late, redelivered=redelivered)
        for worker in ("worker-1", "worker-2"):
            assert store.begin(replace(copy, worker=worker)).admission is expected
        assert record(store, fire(1)).token == token

    def test_a_wait_lasts_as_long_as_the_lease_within_bounds(self, store: Store) -> None:
        know(store, "short", "long")
        dispatch(store, fire(1, "short"))
        start(store, replace(ticket(fire(1, "short")), lease=self.tick * 3))
        run(store, fire(1, "long"))
        answer = store.begin(ticket(fire(1, "short"), "delivery-2"))
        assert answer.admission is Admission.WAIT
        assert SHORTEST <= answer.wait <= max(SHORTEST, min(LONGEST, self.tick * 3))
        assert store.begin(ticket(fire(1, "long"), "delivery-2")).wait == LONGEST

    def test_a_lease_that_is_gone_gives_the_next_attempt_a_new_token(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, fire(1))
        old = start(store, replace(ticket(fire(1)), lease=self.tick))
        first_start = record(store, fire(1)).started_at
        clock.advance(2 * self.tick)
        answer = store.begin(replace(ticket(fire(1), "delivery-2", "worker-2"), redelivered=True))
        assert (answer.admission, answer.attempt) == (Admission.GO, 2)
        assert answer.token > old
        found = record(store, fire(1))
        assert (found.worker, found.attempt, found.started_at) == ("worker-2", 2, first_start)
        assert store.end("job-1", old, SUCCESS, KEEP) is False
        assert store.renew("worker-1", [Renewal(id="job-1", token=old, accepted=True)], LONG) == {"job-1": Kept.LOST}
        assert store.park("job-1", old, store.now() + LONG, 1) is False
        assert store.end("job-1", answer.token, SUCCESS, KEEP) is True

    def test_what_was_accepted_before_is_not_accepted_in_the_next_attempt(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, fire(1))
        token = start(store, ticket(fire(1)))
        store.renew("worker-1", [Renewal(id="job-1", token=token, accepted=True)], LONG)
        assert store.park("job-1", token, store.now(), 1)
        start(store, replace(ticket(fire(1), "delivery-2"), retries=1))
        assert store.begin(replace(ticket(fire(1), "delivery-3"), retries=1)).admission is Admission.WAIT

    def test_what_was_accepted_is_not_accepted_when_the_lease_was_gone(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, fire(1))
        token = start(store, replace(ticket(fire(1)), lease=3 * self.tick))
        store.renew("worker-1", [Renewal(id="job-1", token=token, accepted=True)], self.tick)
        clock.advance(4 * self.tick)
        start(store, ticket(fire(1), "delivery-2"))
        assert store.begin(ticket(fire(1), "delivery-3")).admission is Admission.WAIT

    @pytest.mark.parametrize(
        "state", [State.SUCCEEDED, State.FAILED, State.INTERRUPTED, State.LOST, State.EXPIRED, State.MISSED]
    )
    def test_a_message_of_an_ended_run_is_a_duplicate(self, store: Store, state: State) -> None:
        know(store)
        complete(store, fire(1), Outcome(state=state, reason="expires"))
        for retries in (0, 1):
            again = replace(ticket(fire(1), "delivery-2"), retries=retries)
            assert store.begin(again).admission is Admission.DUPLICATE
        assert store.begin(ticket(fire(1))).admission is Admission.DUPLICATE
        assert verdict_of(record(store, fire(1))) == (state, "expires")

    def test_a_run_that_expired_in_its_queue_begins_after_all(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, replace(fire(1), lock_ttl=self.tick))
        clock.advance(2 * self.tick)
        assert [verdict_of(ended) for ended in store.reap(10)] == [(State.EXPIRED, "queue")]
        token = start(store, ticket(fire(1)))
        found = record(store, fire(1))
        assert (verdict_of(found), found.ended_at, found.attempt) == ((State.RUNNING, None), None, 1)
        assert store.reap(10) == []
        assert holders(store) == ["job-1"]
        assert store.end("job-1", token, SUCCESS, KEEP)

    def test_a_run_whose_task_sent_nothing_begins_after_all_if_it_sends_something_later(self, store: Store) -> None:
        know(store)
        grant(store, fire(1))
        why = Outcome(state=State.SKIPPED, reason="not_sent", error="its apply_async returned nothing")
        assert store.end("job-1", 0, why, KEEP)
        assert (verdict_of(record(store, fire(1))), holders(store)) == ((State.SKIPPED, "not_sent"), [])
        token = start(store, ticket(fire(1)))
        found = record(store, fire(1))
        assert (verdict_of(found), found.ended_at, found.error) == ((State.RUNNING, None), None, None)
        assert holders(store) == ["job-1"]
        assert store.end("job-1", token, SUCCESS, KEEP)
        assert store.begin(ticket(fire(1), "delivery-2")).admission is Admission.DUPLICATE

    @pytest.mark.parametrize("reason", ["overlap", "superseded", "expires"])
    def test_a_run_that_was_skipped_for_another_reason_is_a_duplicate(self, store: Store, reason: str) -> None:
        know(store)
        grant(store, fire(1))
        assert store.end("job-1", 0, Outcome(state=State.SKIPPED, reason=reason), KEEP)
        assert store.begin(ticket(fire(1))).admission is Admission.DUPLICATE

    def test_a_run_that_expired_past_its_deadline_is_a_duplicate(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, replace(fire(1), deadline=store.now() + self.tick))
        clock.advance(2 * self.tick)
        store.reap(10)
        assert store.begin(ticket(fire(1))).admission is Admission.DUPLICATE

    def test_the_fire_time_of_the_last_success_is_told(self, store: Store) -> None:
        know(store, "job", "other")
        complete(store, fire(1))
        complete(store, fire(2), Outcome(state=State.FAILED))
        complete(store, fire(1, "other"))
        dispatch(store, fire(3))
        first = store.begin(ticket(fire(3)))
        assert first.previous_success == minute(1)
        assert store.begin(ticket(fire(3))).previous_success == minute(1)

    def test_the_last_success_is_the_latest_fire_that_succeeded(self, store: Store) -> None:
        know(store)
        claims = [replace(fire(number), limit=0) for number in (1, 2, 3)]
        tokens = [run(store, claim) for claim in claims[:2]]
        for number in (1, 0):
            store.end(f"job-{number + 1}", tokens[number], SUCCESS, KEEP)
        dispatch(store, claims[2])
        assert store.begin(ticket(claims[2])).previous_success == minute(2)


class RetryConformance(Case):
    """Messages of a run's retries."""

    def test_a_retry_that_overtakes_its_own_end_waits_and_goes_when_it_is_parked(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        store.renew("worker-1", [Renewal(id="job-1", token=token, accepted=True)], LONG)
        retry = replace(ticket(fire(1), "delivery-2", "worker-2"), retries=1)
        assert store.begin(retry).admission is Admission.WAIT
        assert store.park("job-1", token, store.now(), 1)
        answer = store.begin(retry)
        assert (answer.admission, answer.attempt) == (Admission.GO, 2)
        assert answer.token > token
        assert record(store, fire(1)).state is State.RUNNING

    def test_a_retry_begins_before_its_countdown_is_over(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        store.park("job-1", token, store.now() + LONG, 1)
        start(store, replace(ticket(fire(1), "delivery-2"), retries=1))

    def test_a_copy_of_the_first_message_of_a_parked_run_is_a_duplicate(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        store.park("job-1", token, store.now() + LONG, 1)
        assert store.begin(ticket(fire(1), "delivery-2")).admission is Admission.DUPLICATE
        assert record(store, fire(1)).state is State.RETRYING

    def test_a_retry_after_the_parked_one_waits(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        store.park("job-1", token, store.now() + LONG, 1)
        assert store.begin(replace(ticket(fire(1), "delivery-2"), retries=2)).admission is Admission.WAIT

    def test_a_parked_retry_whose_lease_is_over_goes(self, store: Store, clock: Advancing) -> None:
        know(store)
        claim = replace(fire(1), lock_ttl=self.tick)
        token = run(store, claim)
        store.park("job-1", token, store.now(), 1)
        clock.advance(2 * self.tick)
        answer = store.begin(replace(ticket(claim, "delivery-2"), retries=1))
        assert (answer.admission, answer.attempt) == (Admission.GO, 2)

    def test_any_later_retry_goes_when_the_parked_lease_is_over(self, store: Store, clock: Advancing) -> None:
        know(store)
        claim = fire(1)
        dispatch(store, claim)
        token = start(store, replace(ticket(claim), lease=self.tick))
        store.park("job-1", token, store.now(), 1)
        clock.advance(2 * self.tick)
        assert store.begin(replace(ticket(claim, "delivery-2"), retries=2)).admission is Admission.GO

    def test_a_copy_of_an_earlier_try_waits_while_the_retry_runs(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        store.park("job-1", token, store.now(), 1)
        start(store, replace(ticket(fire(1), "delivery-2"), retries=1))
        assert store.begin(ticket(fire(1), "delivery-3")).admission is Admission.WAIT
