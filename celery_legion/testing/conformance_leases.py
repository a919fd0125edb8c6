"""Store conformance: renewing, parking and handing back what has begun."""

from __future__ import annotations

from dataclasses import replace

import pytest

from celery_legion.run import State
from celery_legion.stores.base import Admission, Granted, Kept, Renewal, Store
from celery_legion.testing.conformance_case import (
    KEEP,
    LONG,
    NO_TIME,
    SUCCESS,
    Advancing,
    Case,
    attend,
    dispatch,
    fire,
    grant,
    holders,
    know,
    record,
    run,
    start,
    ticket,
    verdict_of,
)


def kept(store: Store, run_id: str, token: int, *, accepted: bool = False) -> Kept:
    """Renew one run for an hour."""
    answer = store.renew("worker-1", [Renewal(id=run_id, token=token, accepted=accepted)], LONG)
    assert set(answer) == {run_id}
    return answer[run_id]


class RenewConformance(Case):
    """``renew``."""

    def test_a_renewed_run_keeps_lease_and_lock(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, fire(1))
        token = start(store, replace(ticket(fire(1)), lease=3 * self.tick))
        assert kept(store, "job-1", token) is Kept.OK
        clock.advance(4 * self.tick)
        assert store.reap(10) == []
        assert grant(store, fire(2)) == [Granted.OVERLAP]
        assert kept(store, "job-1", token) is Kept.OK
        assert (record(store, fire(1)).state, record(store, fire(1)).token) == (State.RUNNING, token)

    def test_a_run_that_is_not_renewed_frees_its_lock_with_its_lease(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, fire(1))
        start(store, replace(ticket(fire(1)), lease=self.tick))
        clock.advance(2 * self.tick)
        assert grant(store, fire(2)) == [Granted.RUN]

    def test_each_run_gets_its_own_answer(self, store: Store) -> None:
        know(store, "a", "b", "c")
        good, old = run(store, fire(1, "a")), run(store, fire(1, "b"))
        ended = run(store, fire(1, "c"))
        store.end("c-1", ended, SUCCESS, KEEP)
        renewals = [
            Renewal(id=run_id, token=token, accepted=False)
            for run_id, token in (("nobody", 3), ("a-1", good), ("b-1", old + 100), ("c-1", ended))
        ]
        assert store.renew("worker-1", renewals, LONG) == {
            "nobody": Kept.LOST,
            "a-1": Kept.OK,
            "b-1": Kept.LOST,
            "c-1": Kept.LOST,
        }
        assert store.renew("worker-1", [], LONG) == {}

    def test_a_begun_run_is_not_kept_by_who_has_not_begun_it(self, store: Store) -> None:
        know(store)
        run(store, fire(1))
        assert kept(store, "job-1", 0) is Kept.LOST

    def test_accepted_is_not_taken_back(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        kept(store, "job-1", token, accepted=True)
        kept(store, "job-1", token, accepted=False)
        assert store.begin(ticket(fire(1), "delivery-2")).admission is Admission.DUPLICATE

    @pytest.mark.parametrize("confirmed", [False, True])
    def test_a_waiting_run_keeps_lock_and_queue_time(self, store: Store, clock: Advancing, confirmed: bool) -> None:
        know(store)
        grant(store, replace(fire(1), lock_ttl=6 * self.tick))
        if confirmed:
            store.sent(["job-1"])
        clock.advance(4 * self.tick)
        assert kept(store, "job-1", 0) is Kept.OK
        clock.advance(4 * self.tick)
        assert holders(store) == ["job-1"]
        assert store.reap(10) == []
        assert record(store, fire(1)).state is (State.SENT if confirmed else State.CLAIMED)

    def test_a_waiting_run_is_not_kept_past_its_deadline(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, replace(fire(1), deadline=store.now() + self.tick))
        kept(store, "job-1", 0)
        clock.advance(2 * self.tick)
        assert [verdict_of(ended) for ended in store.reap(10)] == [(State.EXPIRED, "past_deadline")]

    def test_a_waiting_retry_is_kept(self, store: Store, clock: Advancing) -> None:
        know(store)
        claim = fire(1)
        dispatch(store, claim)
        token = start(store, replace(ticket(claim), lease=6 * self.tick))
        store.park("job-1", token, store.now(), 1)
        clock.advance(4 * self.tick)
        assert kept(store, "job-1", 0) is Kept.OK
        clock.advance(4 * self.tick)
        assert store.reap(10) == []
        assert holders(store) == ["job-1"]
        assert record(store, claim).state is State.RETRYING

    def test_a_renewal_never_shortens_a_parked_lease(self, store: Store, clock: Advancing) -> None:
        know(store)
        token = run(store, fire(1))
        store.park("job-1", token, store.now() + LONG, 1)
        renewal = Renewal(id="job-1", token=token, accepted=False)
        assert store.renew("worker-1", [renewal], self.tick) == {"job-1": Kept.OK}
        clock.advance(2 * self.tick)
        assert (store.reap(10), holders(store)) == ([], ["job-1"])


class ParkConformance(Case):
    """``park``."""

    def test_a_parked_run_is_retrying_and_keeps_its_lock(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, fire(1))
        token = start(store, replace(ticket(fire(1)), lease=3 * self.tick))
        assert store.park("job-1", token, store.now() + 3 * self.tick, 1) is True
        clock.advance(4 * self.tick)
        assert store.reap(10) == []
        found = record(store, fire(1))
        assert (found.state, found.attempt, found.token) == (State.RETRYING, 1, token)
        assert grant(store, fire(2)) == [Granted.OVERLAP]

    def test_the_lease_lasts_until_the_retry_plus_the_lease_that_the_run_began_with(self, store: Store) -> None:
        know(store)
        dispatch(store, fire(1))
        token = start(store, replace(ticket(fire(1)), lease=LONG / 2))
        until = store.now() + LONG
        store.park("job-1", token, until, 1)
        [lock] = store.locks()
        assert LONG * 1.4 < lock.holders[0].expires_in <= LONG * 1.5

    def test_a_parked_run_says_when_its_retry_is_due(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        until = store.now() + LONG
        assert record(store, fire(1)).retry_at is None
        store.park("job-1", token, until, 1)
        assert record(store, fire(1)).retry_at == until
        start(store, replace(ticket(fire(1), "retry-1"), retries=1))
        assert record(store, fire(1)).retry_at is None

    @pytest.mark.parametrize("late", [False, True])
    def test_a_retry_that_no_worker_holds_is_lost_when_its_lease_is_over(
        self, store: Store, clock: Advancing, late: bool
    ) -> None:
        know(store)
        self.lose_a_retry(store, clock, late=late)
        assert verdict_of(record(store, fire(1))) == (State.LOST, "retry_lost")
        assert grant(store, fire(2)) == [Granted.RUN]

    def lose_a_retry(self, store: Store, clock: Advancing, *, late: bool = False) -> None:
        """Let the job's first run be lost with its second retry."""
        dispatch(store, fire(1))
        token = start(store, replace(ticket(fire(1)), lease=self.tick, late=late, retries=1))
        assert store.park("job-1", token, store.now(), 2)
        clock.advance(2 * self.tick)
        assert [ended.id for ended in store.reap(10)] == ["job-1"]

    def test_a_lost_retry_that_turns_up_after_all_goes_on(self, store: Store, clock: Advancing) -> None:
        know(store)
        self.lose_a_retry(store, clock)
        assert store.begin(replace(ticket(fire(1), "old"), retries=1)).admission is Admission.DUPLICATE
        answer = store.begin(replace(ticket(fire(1), "found"), retries=2))
        assert (answer.admission, answer.attempt) == (Admission.GO, 2)
        assert (record(store, fire(1)).state, record(store, fire(1)).reason) == (State.RUNNING, None)
        assert grant(store, fire(2)) == [Granted.OVERLAP]
        assert store.end("job-1", answer.token, SUCCESS, KEEP)
        assert store.begin(replace(ticket(fire(1), "copy"), retries=2)).admission is Admission.DUPLICATE

    def test_a_lost_retry_never_runs_beside_its_successor(self, store: Store, clock: Advancing) -> None:
        know(store)
        self.lose_a_retry(store, clock)
        dispatch(store, fire(2))
        start(store, ticket(fire(2)))
        found = replace(ticket(fire(1), "found"), retries=2)
        assert store.begin(found).admission is Admission.SUPERSEDED
        assert verdict_of(record(store, fire(1))) == (State.LOST, "retry_lost")
        assert holders(store) == ["job-2"]

    def test_a_lost_retry_takes_the_place_of_a_successor_that_has_not_begun(
        self, store: Store, clock: Advancing
    ) -> None:
        know(store)
        self.lose_a_retry(store, clock)
        dispatch(store, fire(2))
        start(store, replace(ticket(fire(1), "found"), retries=2))
        assert verdict_of(record(store, fire(2))) == (State.SKIPPED, "superseded")
        assert store.begin(ticket(fire(2), "late")).admission is Admission.DUPLICATE

    def test_only_the_current_token_of_a_run_parks_it(self, store: Store) -> None:
        know(store, "job", "waiting", "ended")
        token = run(store, fire(1))
        dispatch(store, fire(1, "waiting"))
        ended = run(store, fire(1, "ended"))
        store.end("ended-1", ended, SUCCESS, KEEP)
        until = store.now() + LONG
        assert store.park("job-1", token + 100, until, 1) is False
        assert store.park("job-1", 0, until, 1) is False
        assert store.park("waiting-1", 0, until, 1) is False
        assert store.park("ended-1", ended, until, 1) is False
        assert store.park("nobody", token, until, 1) is False
        assert record(store, fire(1)).state is State.RUNNING

    def test_parking_again_gives_the_same_answer(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        until = store.now() + LONG
        assert store.park("job-1", token, until, 1) is True
        assert store.park("job-1", token, until, 1) is True

    def test_a_run_is_parked_once_for_each_retry(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        for retries in (1, 2, 3):
            assert store.park("job-1", token, store.now(), retries)
            token = start(store, replace(ticket(fire(1), f"retry-{retries}"), retries=retries))
        assert record(store, fire(1)).attempt == 4


class HandBackConformance(Case):
    """``hand_back``."""

    def test_a_late_run_may_be_delivered_again_at_once(self, store: Store) -> None:
        know(store)
        dispatch(store, fire(1))
        token = start(store, replace(ticket(fire(1)), late=True))
        kept(store, "job-1", token, accepted=True)
        assert store.hand_back("worker-1") == ["job-1"]
        assert record(store, fire(1)).state is State.RUNNING
        answer = store.begin(replace(ticket(fire(1), "delivery-2", "worker-2"), late=True, redelivered=True))
        assert (answer.admission, answer.attempt) == (Admission.GO, 2)
        assert answer.token > token

    def test_a_run_that_was_not_accepted_goes_back_to_the_queue(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        assert store.hand_back("worker-1") == ["job-1"]
        found = record(store, fire(1))
        assert (found.state, found.attempt) == (State.SENT, 0)
        answer = store.begin(replace(ticket(fire(1), "delivery-2", "worker-2"), redelivered=True))
        assert (answer.admission, answer.attempt) == (Admission.GO, 1)
        assert answer.token > token

    def test_a_run_back_in_the_queue_keeps_others_away_as_one_that_has_never_begun(
        self, store: Store, clock: Advancing
    ) -> None:
        know(store)
        attend(store, "celery", name="worker-2")
        claim = replace(fire(1), lock_ttl=6 * self.tick)
        dispatch(store, claim)
        start(store, replace(ticket(claim), lease=self.tick))
        store.hand_back("worker-1")
        # Its lease is over, and so would be a lock that had been left as it was.
        clock.advance(3 * self.tick)
        assert grant(store, fire(2)) == [Granted.OVERLAP]
        clock.advance(4 * self.tick)
        assert holders(store) == []

    def test_a_run_that_had_lost_its_lock_takes_none_back_to_the_queue(self, store: Store) -> None:
        know(store)
        run(store, fire(1))
        store.release("job")
        assert store.hand_back("worker-1") == ["job-1"]
        assert holders(store) == []

    def test_a_run_back_in_the_queue_expires_there(self, store: Store, clock: Advancing) -> None:
        know(store)
        run(store, replace(fire(1), lock_ttl=self.tick))
        store.hand_back("worker-1")
        clock.advance(2 * self.tick)
        assert [verdict_of(ended) for ended in store.reap(10)] == [(State.EXPIRED, "queue")]

    def test_a_run_back_in_the_queue_expires_at_its_deadline(self, store: Store, clock: Advancing) -> None:
        know(store)
        run(store, replace(fire(1), deadline=store.now() + 3 * self.tick))
        store.hand_back("worker-1")
        clock.advance(4 * self.tick)
        assert [verdict_of(ended) for ended in store.reap(10)] == [(State.EXPIRED, "past_deadline")]

    def test_an_early_accepted_run_is_kept(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        kept(store, "job-1", token, accepted=True)
        assert store.hand_back("worker-1") == []
        assert record(store, fire(1)).state is State.RUNNING
        assert kept(store, "job-1", token) is Kept.OK

    def test_runs_of_others_parked_waiting_and_ended_ones_are_left(self, store: Store) -> None:
        know(store, "mine", "others", "parked", "waiting", "ended")
        run(store, fire(1, "mine"))
        dispatch(store, fire(1, "others"))
        start(store, ticket(fire(1, "others"), worker="worker-2"))
        store.park("parked-1", run(store, fire(1, "parked")), store.now() + LONG, 1)
        dispatch(store, fire(1, "waiting"))
        store.end("ended-1", run(store, fire(1, "ended")), SUCCESS, KEEP)
        assert store.hand_back("worker-1") == ["mine-1"]
        assert {name: record(store, fire(1, name)).state for name in ("others", "parked", "waiting", "ended")} == {
            "others": State.RUNNING,
            "parked": State.RETRYING,
            "waiting": State.SENT,
            "ended": State.SUCCEEDED,
        }

    def test_what_was_handed_back_is_no_longer_its_old_holders(self, store: Store) -> None:
        know(store, "early", "late")
        early = run(store, fire(1, "early"))
        dispatch(store, fire(1, "late"))
        start(store, replace(ticket(fire(1, "late")), late=True))
        assert sorted(store.hand_back("worker-1")) == ["early-1", "late-1"]
        assert kept(store, "early-1", early) is Kept.LOST
        assert store.end("early-1", early, SUCCESS, KEEP) is False
        again = store.begin(replace(ticket(fire(1, "early")), redelivered=True))
        assert (again.admission, again.token > early) == (Admission.GO, True)

    def test_a_late_run_that_is_not_delivered_again_is_lost_after_the_grace(
        self, store: Store, clock: Advancing
    ) -> None:
        know(store, "long", "short")
        for name, visibility in (("long", LONG), ("short", self.tick)):
            claim = replace(fire(1, name), lock_ttl=self.tick)
            dispatch(store, claim)
            start(store, replace(ticket(claim), late=True, visibility=visibility))
        store.hand_back("worker-1")
        clock.advance(2 * self.tick)
        assert [ended.id for ended in store.reap(10)] == ["short-1"]

    @pytest.mark.parametrize("late", [False, True])
    def test_a_lost_run_goes_on_if_its_message_was_not_acknowledged_and_turns_up(
        self, store: Store, clock: Advancing, late: bool
    ) -> None:
        know(store)
        dispatch(store, fire(1))
        asked = replace(ticket(fire(1)), late=late, lease=self.tick, visibility=self.tick)
        start(store, asked)
        clock.advance(3 * self.tick)
        assert [verdict_of(ended) for ended in store.reap(10)] == [(State.LOST, "process_lost")]
        answer = store.begin(replace(asked, asker="delivery-2", redelivered=True))
        assert answer.admission is (Admission.GO if late else Admission.DUPLICATE)
        assert record(store, fire(1)).attempt == 1 + late

    def test_a_late_run_that_is_handed_back_waits_as_long_as_one_that_has_not_begun(
        self, store: Store, clock: Advancing
    ) -> None:
        know(store)
        dispatch(store, fire(1))
        start(store, replace(ticket(fire(1)), late=True, visibility=NO_TIME))
        store.hand_back("worker-1")
        clock.advance(2 * self.tick)
        assert store.reap(10) == []

    def test_a_worker_of_the_same_name_keeps_what_it_has_begun(self, store: Store) -> None:
        know(store, "mine", "twins", "later")
        tokens = dict.fromkeys(("mine", "twins", "later"), 0)
        for name in tokens:
            claim = fire(1, name)
            dispatch(store, claim)
            tokens[name] = start(store, replace(ticket(claim), late=True))
        attend(store, "celery", name="worker-1")
        # The process of the worker that is known by the name is 7.
        begun = {"mine-1": tokens["mine"], "later-1": tokens["later"] - 1, "nobody": 3}
        assert store.hand_back("worker-1", 8, begun) == ["mine-1"]
        assert [worker.name for worker in store.workers()] == ["worker-1"]
        assert kept(store, "twins-1", tokens["twins"]) is Kept.OK
        assert store.begin(replace(ticket(fire(1, "twins"), "copy"), late=True)).admission is Admission.WAIT
        assert store.hand_back("worker-1", 7, {}) == []
        assert store.workers() == []

    def test_the_worker_is_forgotten(self, store: Store) -> None:
        attend(store, "celery", name="worker-1")
        attend(store, "celery", name="worker-2")
        store.hand_back("worker-1")
        assert [worker.name for worker in store.workers()] == ["worker-2"]
        assert store.hand_back("nobody") == []
