"""Store conformance: messages that a broker has lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from celery_legion.run import State
from celery_legion.stores.base import Admission, Kept, Renewal, Store
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


def lost(store: Store, after: timedelta) -> list[str]:
    """Return the ids of the runs whose message is missing for longer than *after*."""
    return [found.id for found in store.unsent(LONG, 10, after) if found.lost]


def show(store: Store, run_id: str = "a-1") -> None:
    """Renew a run that a worker holds and has not begun."""
    renewal = Renewal(id=run_id, token=0, accepted=False)
    assert store.renew("worker-1", [renewal], LONG) == {run_id: Kept.OK}


class MissingConformance(Case):
    """When a sent run is missing: its queue has passed it by, and no worker shows it."""

    def test_a_sent_run_is_not_missing_for_its_age_alone(self, store: Store, clock: Advancing) -> None:
        know(store, "a")
        dispatch(store, fire(1, "a"))
        clock.advance(2 * self.tick)
        attend(store, "celery")
        assert lost(store, NO_TIME) == []

    def test_a_run_that_was_claimed_later_and_has_begun_shows_it(self, store: Store, clock: Advancing) -> None:
        know(store, "a", "b")
        dispatch(store, replace(fire(1, "a"), message='{"ß":1}'))
        clock.advance(self.tick)
        run(store, fire(1, "b"))
        assert lost(store, LONG) == []
        clock.advance(2 * self.tick)
        [found] = store.unsent(NO_TIME, 10, self.tick)
        assert (found.id, found.job, found.fire_time, found.lost) == ("a-1", "a", fire(1).fire_time, True)
        assert (found.message, found.queue, found.deadline) == ('{"ß":1}', "celery", None)
        assert found.claimed_at == record(store, fire(1, "a")).claimed_at
        assert store.unsent(NO_TIME, 10) == []

    def test_a_run_that_was_claimed_before_it_was_sent_says_nothing(self, store: Store, clock: Advancing) -> None:
        know(store, "a", "b")
        grant(store, fire(1, "b"))
        clock.advance(self.tick)
        dispatch(store, fire(1, "a"))
        store.sent(["b-1"])
        clock.advance(self.tick)
        start(store, ticket(fire(1, "b")))
        assert lost(store, NO_TIME) == []

    def test_a_later_run_that_begins_once_more_says_nothing_new(self, store: Store, clock: Advancing) -> None:
        know(store, "a", "b")
        token = run(store, fire(1, "b"))
        clock.advance(self.tick)
        dispatch(store, fire(1, "a"))
        clock.advance(self.tick)
        store.park("b-1", token, store.now(), 1)
        start(store, replace(ticket(fire(1, "b"), "retry"), retries=1))
        assert lost(store, NO_TIME) == []

    def test_an_idle_worker_shows_it(self, store: Store, clock: Advancing) -> None:
        know(store, "a")
        dispatch(store, fire(1, "a"))
        clock.advance(2 * self.tick)
        attend(store, "other", "celery", idle=self.tick)
        assert (lost(store, LONG), lost(store, NO_TIME)) == ([], ["a-1"])

    def test_a_worker_that_is_idle_since_before_it_was_sent_says_nothing(self, store: Store) -> None:
        know(store, "a")
        dispatch(store, fire(1, "a"))
        attend(store, "celery", idle=LONG)
        assert lost(store, NO_TIME) == []

    @pytest.mark.parametrize(("first", "later"), [(True, False), (False, True), (True, True)])
    def test_a_later_run_says_nothing_where_one_of_the_two_jumps_the_queue(
        self, store: Store, clock: Advancing, first: bool, later: bool
    ) -> None:
        know(store, "a", "b")
        dispatch(store, replace(fire(1, "a"), jumps=first))
        clock.advance(2 * self.tick)
        run(store, replace(fire(1, "b"), jumps=later))
        assert lost(store, NO_TIME) == []
        clock.advance(2 * self.tick)
        attend(store, "celery", idle=self.tick)
        assert lost(store, NO_TIME) == ["a-1"]

    def test_what_jumps_the_queue_is_shown_and_begins_like_others(self, store: Store, clock: Advancing) -> None:
        know(store, "a", "b")
        for name in ("a", "b"):
            dispatch(store, replace(fire(1, name), jumps=True))
        clock.advance(2 * self.tick)
        show(store)
        start(store, ticket(fire(1, "b")))
        attend(store, "celery", idle=self.tick)
        assert lost(store, NO_TIME) == []

    @pytest.mark.parametrize("jumps", [False, True])
    def test_while_its_countdown_goes_on_it_is_not_missing(self, store: Store, clock: Advancing, jumps: bool) -> None:
        know(store, "a", "b")
        eta = store.now() + 8 * self.tick
        dispatch(store, replace(fire(1, "a"), eta=eta, jumps=jumps))
        clock.advance(2 * self.tick)
        run(store, fire(1, "b"))
        attend(store, "celery", idle=self.tick)
        show(store)
        attend(store, "celery")
        assert lost(store, NO_TIME) == []
        clock.advance(8 * self.tick)
        attend(store, "celery", idle=self.tick)
        assert lost(store, NO_TIME) == ["a-1"]

    def test_a_countdown_that_is_over_changes_nothing(self, store: Store, clock: Advancing) -> None:
        know(store, "a")
        dispatch(store, replace(fire(1, "a"), eta=store.now() - LONG))
        clock.advance(2 * self.tick)
        attend(store, "celery", idle=self.tick)
        assert lost(store, NO_TIME) == ["a-1"]

    def test_only_its_own_queue_matters(self, store: Store, clock: Advancing) -> None:
        know(store, "a", "b", "c")
        dispatch(store, fire(1, "a"))
        dispatch(store, replace(fire(1, "c"), queue=None))
        clock.advance(2 * self.tick)
        run(store, replace(fire(1, "b"), queue="other"))
        attend(store, "other", idle=self.tick)
        assert lost(store, NO_TIME) == []

    def test_one_that_a_worker_shows_is_not_missing(self, store: Store, clock: Advancing) -> None:
        know(store, "a")
        dispatch(store, fire(1, "a"))
        clock.advance(2 * self.tick)
        attend(store, "celery", idle=self.tick)
        show(store)
        attend(store, "celery", idle=LONG)
        assert lost(store, NO_TIME) == []
        clock.advance(2 * self.tick)
        attend(store, "celery", idle=self.tick)
        assert lost(store, NO_TIME) == ["a-1"]

    def test_one_that_a_worker_has_received_and_acknowledged_is_never_missing(
        self, store: Store, clock: Advancing
    ) -> None:
        know(store, "a", "b")
        dispatch(store, fire(1, "a"))
        dispatch(store, fire(1, "b"))
        clock.advance(2 * self.tick)
        attend(store, "celery", idle=self.tick)
        gone = [Renewal(id=run_id, token=0, accepted=True) for run_id in ("a-1", "nobody")]
        for _ in range(2):
            assert store.renew("worker-1", gone, LONG) == {"a-1": Kept.OK, "nobody": Kept.LOST}
        assert lost(store, NO_TIME) == ["b-1"]
        clock.advance(2 * self.tick)
        attend(store, "celery", idle=self.tick)
        assert lost(store, NO_TIME) == ["b-1"]
        assert (record(store, fire(1, "a")).state, holders(store, "a")) == (State.SENT, ["a-1"])
        assert store.begin(ticket(fire(1, "a"))).admission is Admission.GO
        assert store.renew("worker-1", gone[:1], LONG) == {"a-1": Kept.LOST}

    def test_one_that_went_to_another_queue_than_was_said_is_never_missing(
        self, store: Store, clock: Advancing
    ) -> None:
        know(store, "a", "b")
        for name in ("a", "b"):
            grant(store, fire(1, name))
        store.sent(["a-1", "b-1"], {"a-1", "nobody"})
        store.sent(["b-1"], {"a-1"})
        clock.advance(2 * self.tick)
        attend(store, "celery", idle=self.tick)
        clock.advance(2 * self.tick)
        attend(store, "celery", idle=self.tick)
        assert lost(store, NO_TIME) == ["b-1"]
        assert store.begin(ticket(fire(1, "a"))).admission is Admission.GO

    def test_one_that_has_begun_or_ended_is_not_missing(self, store: Store, clock: Advancing) -> None:
        names = ["a", "b", "c", "d", "e"]
        know(store, *names)
        for name in names:
            dispatch(store, replace(fire(1, name), lock_ttl=self.tick if name == "e" else LONG))
        start(store, ticket(fire(1, "a")))
        clock.advance(2 * self.tick)
        attend(store, "celery", idle=self.tick)
        start(store, ticket(fire(1, "b")))
        assert store.end("c-1", 0, SUCCESS, KEEP)
        store.interrupt("d-1", 15, LONG)
        assert [verdict_of(ended) for ended in store.reap(10)] == [(State.EXPIRED, "queue")]
        assert lost(store, NO_TIME) == []

    def test_a_superseded_run_is_not_missing(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, replace(fire(1), lock_ttl=self.tick))
        clock.advance(2 * self.tick)
        dispatch(store, fire(2))
        attend(store, "celery", idle=self.tick)
        assert lost(store, NO_TIME) == ["job-1"]
        start(store, ticket(fire(1)))
        assert lost(store, NO_TIME) == []
        assert record(store, fire(2)).state is State.SKIPPED

    def test_an_unwatched_run_is_never_missing(self, store: Store, clock: Advancing) -> None:
        know(store, "a")
        dispatch(store, replace(fire(1, "a"), watched=False, limit=0))
        clock.advance(2 * self.tick)
        attend(store, "celery", idle=self.tick)
        assert lost(store, NO_TIME) == []

    def test_a_run_that_was_handed_back_is_missing_with_its_message(self, store: Store, clock: Advancing) -> None:
        know(store, "a")
        run(store, fire(1, "a"))
        assert store.hand_back("worker-1") == ["a-1"]
        assert lost(store, NO_TIME) == []
        clock.advance(2 * self.tick)
        attend(store, "celery", idle=self.tick)
        assert [found.message for found in store.unsent(LONG, 10, NO_TIME)] == [fire(1).message]

    def test_a_retry_that_was_handed_back_is_never_missing(self, store: Store, clock: Advancing) -> None:
        know(store, "a")
        store.park("a-1", run(store, fire(1, "a")), store.now(), 1)
        start(store, replace(ticket(fire(1, "a"), "retry"), retries=1))
        assert store.hand_back("worker-1") == ["a-1"]
        clock.advance(2 * self.tick)
        attend(store, "celery", idle=self.tick)
        assert lost(store, NO_TIME) == []

    def test_a_worker_is_shown_as_idle_as_it_said(self, store: Store) -> None:
        attend(store, "celery", idle=self.tick)
        assert [worker.idle for worker in store.workers()] == [self.tick]


class LostConformance(Case):
    """What becomes of a run whose message got lost."""

    def lose(self, store: Store, clock: Advancing, *names: str) -> None:
        know(store, *names)
        for name in names:
            dispatch(store, fire(1, name))
        clock.advance(2 * self.tick)
        attend(store, "celery", idle=self.tick)

    def test_asking_again_gives_the_same_answer(self, store: Store, clock: Advancing) -> None:
        self.lose(store, clock, "a")
        found = store.unsent(LONG, 10, NO_TIME)
        assert [one.id for one in found] == ["a-1"]
        assert store.unsent(LONG, 10, NO_TIME) == found

    def test_what_nobody_sends_again_leaves_the_turn_to_others(self, store: Store, clock: Advancing) -> None:
        self.lose(store, clock, "a")
        clock.advance(self.tick)
        self.lose(store, clock, "b")
        clock.advance(9 * self.tick)
        span = 8 * self.tick
        assert [[one.id for one in store.unsent(LONG, 1, span)] for _ in range(3)] == [["a-1"], ["b-1"], []]
        clock.advance(9 * self.tick)
        assert [one.id for one in store.unsent(LONG, 1, span)] == ["a-1"]

    def test_the_unconfirmed_come_first_then_the_longest_missing(self, store: Store, clock: Advancing) -> None:
        self.lose(store, clock, "b")
        clock.advance(self.tick)
        self.lose(store, clock, "a")
        know(store, "c")
        grant(store, fire(1, "c"))
        assert [(one.id, one.lost) for one in store.unsent(NO_TIME, 10, NO_TIME)] == [
            ("c-1", False),
            ("b-1", True),
            ("a-1", True),
        ]
        assert [one.lost for one in store.unsent(NO_TIME, 2, NO_TIME)] == [False, True]
        assert [one.id for one in store.unsent(NO_TIME, 1, NO_TIME)] == ["c-1"]

    def test_sent_again_it_is_expected_anew_and_nothing_else_changes(self, store: Store, clock: Advancing) -> None:
        self.lose(store, clock, "a")
        before = record(store, fire(1, "a"))
        assert lost(store, NO_TIME) == ["a-1"]
        store.sent(["a-1"])
        assert lost(store, NO_TIME) == []
        attend(store, "celery", idle=LONG)
        assert lost(store, NO_TIME) == []
        assert record(store, fire(1, "a")) == before
        assert holders(store, "a") == ["a-1"]
        assert store.begin(ticket(fire(1, "a"))).admission is Admission.GO
        assert store.begin(ticket(fire(1, "a"), "copy")).admission is Admission.WAIT

    @pytest.mark.parametrize("repeated", [False, True])
    def test_each_time_it_is_sent_again_it_has_twice_the_time(
        self, store: Store, clock: Advancing, repeated: bool
    ) -> None:
        self.lose(store, clock, "a")
        span = 8 * self.tick
        clock.advance(9 * self.tick)
        assert lost(store, span) == ["a-1"]
        for _ in range(1 + repeated):
            # A reply may get lost.
            store.sent(["a-1"])
        clock.advance(2 * self.tick)
        attend(store, "celery", idle=self.tick)
        assert lost(store, NO_TIME) == []
        clock.advance(9 * self.tick)
        assert lost(store, NO_TIME) == ["a-1"]

    def test_confirming_what_was_not_found_lost_changes_nothing(self, store: Store, clock: Advancing) -> None:
        self.lose(store, clock, "a")
        store.sent(["a-1"])
        assert lost(store, NO_TIME) == ["a-1"]

    def test_lock_and_queue_time_are_counted_from_the_end_of_a_countdown(self, store: Store, clock: Advancing) -> None:
        know(store, "a")
        claim = replace(fire(1, "a"), lock_ttl=self.tick, eta=store.now() + 6 * self.tick)
        grant(store, claim)
        clock.advance(2 * self.tick)
        assert holders(store, "a") == ["a-1"]
        store.sent(["a-1"])
        show(store)
        clock.advance(2 * self.tick)
        assert (store.reap(10), holders(store, "a")) == ([], ["a-1"])
        clock.advance(5 * self.tick)
        assert [verdict_of(ended) for ended in store.reap(10)] == [(State.EXPIRED, "queue")]
        assert holders(store, "a") == []

    def test_its_queue_time_is_not_extended(self, store: Store, clock: Advancing) -> None:
        know(store, "a")
        dispatch(store, replace(fire(1, "a"), lock_ttl=4 * self.tick))
        clock.advance(2 * self.tick)
        attend(store, "celery", idle=self.tick)
        assert lost(store, NO_TIME) == ["a-1"]
        store.sent(["a-1"])
        clock.advance(3 * self.tick)
        assert [verdict_of(ended) for ended in store.reap(10)] == [(State.EXPIRED, "queue")]
        assert lost(store, NO_TIME) == []
