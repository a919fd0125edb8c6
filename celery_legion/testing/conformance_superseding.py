"""Store conformance: unknown messages, and locks at the begin."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from celery_legion.run import Kind, State
from celery_legion.stores.base import Admission, Granted, Retention, Store
from celery_legion.testing.conformance_case import (
    BASE,
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
    know,
    minute,
    pushed,
    record,
    run,
    start,
    ticket,
    verdict_of,
)


class UnknownConformance(Case):
    """Messages whose run the store does not know."""

    def test_a_scheduled_run_that_the_store_has_lost_is_written_anew(self, store: Store) -> None:
        answer = store.begin(ticket(fire(1)))
        assert (answer.admission, answer.attempt) == (Admission.GO, 1)
        found = record(store, fire(1))
        assert (found.job, found.kind, found.fire_time, found.state) == (
            "job",
            Kind.SCHEDULED,
            minute(1),
            State.RUNNING,
        )
        assert store.states(["job"])["job"].mark == minute(1)
        assert [listed.id for listed in store.runs("job", 10)] == ["job-1"]
        assert holders(store) == ["job-1"]
        assert store.end("job-1", answer.token, SUCCESS, KEEP)

    def test_a_fire_above_the_mark_moves_it(self, store: Store) -> None:
        know(store)
        start(store, ticket(fire(3)))
        assert store.sight({"job": "print"}, minute(9))["job"].mark == minute(3)
        assert grant(store, fire(1)) == [Granted.STALE]

    @pytest.mark.parametrize("number", [1, 2])
    def test_a_fire_at_or_below_the_mark_is_superseded(self, store: Store, number: int) -> None:
        know(store)
        grant(store, fire(1), fire(2))
        lost = replace(fire(number), run_id="lost")
        assert store.begin(ticket(lost)).admission is Admission.SUPERSEDED
        assert store.get("lost") is None
        assert store.states(["job"])["job"].mark == minute(2)

    @pytest.mark.parametrize("number", [-1, 0])
    def test_a_fire_from_before_the_store_knew_the_job_begins(self, store: Store, number: int) -> None:
        know(store)
        complete(store, fire(1))
        old = replace(fire(1), run_id="old", fire_time=minute(number))
        start(store, ticket(old))
        assert record(store, old).fire_time == minute(number)
        assert store.states(["job"])["job"].mark == minute(1)

    def test_a_fire_begins_up_to_the_mark_that_the_store_was_told(self, store: Store) -> None:
        know(store)
        assert store.remind({"job": minute(5)}) == ["job"]
        assert store.remind({"job": minute(4)}) == []
        complete(store, fire(6))
        start(store, ticket(fire(5)))
        assert store.begin(ticket(replace(fire(6), run_id="lost"))).admission is Admission.SUPERSEDED
        assert store.states(["job"])["job"].mark == minute(6)

    def test_fires_before_an_unknown_one_that_has_begun_begin_as_well(self, store: Store) -> None:
        know(store)
        for number in (4, 2, 3):
            start(store, ticket(replace(fire(number), limit=0)))
        assert store.remind({"job": minute(4)}) == []
        start(store, ticket(replace(fire(1), limit=0)))
        assert store.states(["job"])["job"].mark == minute(4)

    def test_a_changed_trigger_is_no_loss(self, store: Store) -> None:
        know(store)
        complete(store, fire(1))
        store.sight({"job": "other"}, minute(3))
        assert store.begin(ticket(replace(fire(2), run_id="lost"))).admission is Admission.SUPERSEDED

    @pytest.mark.parametrize("kind", [Kind.PUSHED, Kind.MANUAL, Kind.BACKFILL])
    def test_what_was_not_scheduled_goes_whatever_the_mark_and_leaves_it(self, store: Store, kind: Kind) -> None:
        know(store)
        claims = [replace(pushed(f"p{number}"), fire_time=minute(number), kind=kind, limit=0) for number in (-5, 5)]
        for claim in claims:
            start(store, ticket(claim))
            assert record(store, claim).kind is kind
        assert store.states(["job"])["job"].mark == BASE

    def test_an_id_in_the_done_memory_is_a_duplicate(self, keeping: Keeping, clock: Advancing) -> None:
        store = keeping(Retention(size=1))
        for number, dedup in enumerate((LONG, self.tick)):
            claim = pushed(f"p{number}")
            token = run(store, claim)
            store.end(f"p{number}", token, SUCCESS, Retention(dedup=dedup))
        complete(store, pushed("last"))
        clock.advance(2 * self.tick)
        assert (store.get("p0"), store.get("p1")) == (None, None)
        assert store.begin(ticket(pushed("p0"), "delivery-2")).admission is Admission.DUPLICATE
        assert store.begin(ticket(pushed("p1"), "delivery-2")).admission is Admission.GO

    def test_a_push_that_expired_in_its_queue_and_was_trimmed_begins_after_all(
        self, keeping: Keeping, clock: Advancing
    ) -> None:
        store = keeping(Retention(total=0))
        claim = replace(pushed("p1"), lock_ttl=self.tick)
        dispatch(store, claim)
        clock.advance(2 * self.tick)
        store.reap(10)
        assert store.get("p1") is None
        assert store.begin(ticket(claim)).admission is Admission.GO

    def test_a_lost_run_that_may_not_begin_is_written_as_skipped(self, store: Store) -> None:
        run(store, pushed("p1"))
        assert store.begin(ticket(pushed("p2"))).admission is Admission.SUPERSEDED
        assert verdict_of(record(store, pushed("p2"))) == (State.SKIPPED, "superseded")


class SupersedingConformance(Case):
    """Locks at the begin: first to start wins, and only a begun run's lock excludes."""

    def overtaken(self, store: Store, clock: Advancing) -> None:
        """Let job-1 lose its lock in the queue, and job-2 take it."""
        know(store)
        dispatch(store, replace(fire(1), lock_ttl=self.tick))
        clock.advance(2 * self.tick)
        dispatch(store, fire(2))

    def test_a_lock_that_ran_out_in_the_queue_is_taken_again(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, replace(fire(1), lock_ttl=self.tick))
        clock.advance(2 * self.tick)
        assert holders(store) == []
        start(store, ticket(fire(1)))
        assert holders(store) == ["job-1"]
        assert grant(store, fire(2)) == [Granted.OVERLAP]

    def test_a_holder_that_has_not_begun_gives_way(self, store: Store, clock: Advancing) -> None:
        self.overtaken(store, clock)
        start(store, ticket(fire(1)))
        assert holders(store) == ["job-1"]
        loser = record(store, fire(2))
        assert verdict_of(loser) == (State.SKIPPED, "superseded")
        assert loser.ended_at is not None
        assert store.begin(ticket(fire(2))).admission is Admission.DUPLICATE

    def test_a_holder_that_is_only_claimed_gives_way_and_is_unsent_no_more(
        self, store: Store, clock: Advancing
    ) -> None:
        know(store)
        dispatch(store, replace(fire(1), lock_ttl=self.tick))
        clock.advance(2 * self.tick)
        grant(store, fire(2))
        start(store, ticket(fire(1)))
        assert verdict_of(record(store, fire(2))) == (State.SKIPPED, "superseded")
        assert store.unsent(timedelta(0), 10) == []

    def test_a_begun_holder_excludes(self, store: Store, clock: Advancing) -> None:
        self.overtaken(store, clock)
        token = start(store, ticket(fire(2)))
        answer = store.begin(ticket(fire(1)))
        assert (answer.admission, answer.token) == (Admission.SUPERSEDED, 0)
        assert verdict_of(record(store, fire(1))) == (State.SKIPPED, "superseded")
        assert holders(store) == ["job-2"]
        assert store.begin(ticket(fire(1))).admission is Admission.DUPLICATE
        assert store.end("job-2", token, SUCCESS, KEEP)

    def test_a_parked_holder_excludes_too(self, store: Store, clock: Advancing) -> None:
        self.overtaken(store, clock)
        token = start(store, ticket(fire(2)))
        store.park("job-2", token, store.now() + LONG, 1)
        assert store.begin(ticket(fire(1))).admission is Admission.SUPERSEDED

    def test_a_run_that_had_begun_and_is_superseded_is_lost(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, fire(1))
        start(store, replace(ticket(fire(1)), lease=self.tick, late=True))
        clock.advance(2 * self.tick)
        run(store, fire(2))
        again = replace(ticket(fire(1), "delivery-2"), late=True, redelivered=True)
        assert store.begin(again).admission is Admission.SUPERSEDED
        assert verdict_of(record(store, fire(1))) == (State.LOST, "superseded")
        assert holders(store) == ["job-2"]

    def test_of_two_holders_the_one_that_has_not_begun_gives_way(self, store: Store, clock: Advancing) -> None:
        know(store)
        claims = [replace(fire(number), limit=2) for number in (1, 2, 3)]
        dispatch(store, replace(claims[0], lock_ttl=self.tick))
        clock.advance(2 * self.tick)
        run(store, claims[1])
        dispatch(store, claims[2])
        start(store, ticket(claims[0]))
        assert sorted(holders(store)) == ["job-1", "job-2"]
        assert record(store, claims[1]).state is State.RUNNING
        assert verdict_of(record(store, claims[2])) == (State.SKIPPED, "superseded")

    def test_a_holder_of_another_job_gives_way_on_a_shared_lock(self, store: Store, clock: Advancing) -> None:
        know(store, "a", "b")
        first, second = (replace(fire(1, name), lock="shared") for name in ("a", "b"))
        dispatch(store, replace(first, lock_ttl=self.tick))
        clock.advance(2 * self.tick)
        dispatch(store, second)
        start(store, ticket(first))
        assert holders(store, "shared") == ["a-1"]
        assert verdict_of(record(store, second)) == (State.SKIPPED, "superseded")

    def test_without_a_lock_nothing_is_superseded(self, store: Store) -> None:
        know(store)
        for number in (1, 2):
            run(store, replace(fire(number), limit=0))
        assert [found.state for found in store.runs("job", 10)] == [State.RUNNING] * 2
        assert store.locks() == []
