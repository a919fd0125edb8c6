"""Store conformance: what is sent and what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from celery_legion.run import Kind, Reason, State
from celery_legion.stores.base import Admission, Granted, Kept, Outcome, Renewal, Retention, Store
from celery_legion.testing.conformance_case import (
    KEEP,
    LONG,
    NO_TIME,
    SUCCESS,
    Advancing,
    Case,
    Keeping,
    attend,
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


def waiting(store: Store) -> list[str]:
    """Return the ids of all runs not confirmed as sent."""
    return [run.id for run in store.unsent(NO_TIME, 10)]


class SendingConformance(Case):
    """``sent``, ``unsent``."""

    def test_a_claimed_run_is_unsent_with_all_that_publishing_again_needs(self, store: Store) -> None:
        know(store)
        deadline = store.now() + LONG
        grant(store, replace(fire(1), deadline=deadline, message='{"ß":1}'))
        [found] = store.unsent(NO_TIME, 10)
        assert (found.id, found.job, found.kind, found.fire_time) == ("job-1", "job", Kind.SCHEDULED, minute(1))
        assert (found.message, found.queue, found.deadline) == ('{"ß":1}', "celery", deadline)
        assert found.claimed_at == record(store, fire(1)).claimed_at

    def test_what_was_not_given_is_none(self, store: Store) -> None:
        grant(store, replace(pushed("p1"), queue=None))
        [found] = store.unsent(NO_TIME, 10)
        assert (found.kind, found.queue, found.deadline) == (Kind.PUSHED, None, None)

    def test_only_runs_older_than_the_age_are_unsent(self, store: Store, clock: Advancing) -> None:
        know(store, "old", "young")
        grant(store, fire(1, "old"))
        clock.advance(8 * self.tick)
        grant(store, fire(1, "young"))
        assert [run.id for run in store.unsent(5 * self.tick, 10)] == ["old-1"]
        assert store.unsent(LONG, 10) == []

    def test_unsent_runs_come_oldest_first_and_at_most_limit(self, store: Store, clock: Advancing) -> None:
        names = ["c", "a", "b"]
        know(store, *names)
        for name in names:
            grant(store, fire(1, name))
            clock.advance(self.tick)
        assert waiting(store) == ["c-1", "a-1", "b-1"]
        assert [run.id for run in store.unsent(NO_TIME, 2)] == ["c-1", "a-1"]

    def test_a_sent_run_is_unsent_no_more(self, store: Store) -> None:
        know(store)
        before = store.now()
        dispatch(store, fire(1))
        assert waiting(store) == []
        found = record(store, fire(1))
        assert found.state is State.SENT
        assert found.sent_at is not None
        assert before <= found.sent_at <= store.now()

    def test_sent_again_changes_nothing(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, fire(1))
        before = record(store, fire(1))
        clock.advance(self.tick)
        store.sent(["job-1"])
        assert record(store, fire(1)) == before

    def test_unknown_ids_of_runs_are_passed_over(self, store: Store) -> None:
        store.sent([])
        store.sent(["nobody"])
        assert store.get("nobody") is None

    def test_a_run_that_began_before_it_was_confirmed_goes_on(self, store: Store) -> None:
        know(store)
        grant(store, fire(1))
        token = start(store, ticket(fire(1)))
        assert waiting(store) == []
        store.sent(["job-1"])
        found = record(store, fire(1))
        assert (found.state, found.token) == (State.RUNNING, token)

    def test_a_run_that_ended_before_it_was_confirmed_stays_ended(self, store: Store) -> None:
        know(store)
        grant(store, fire(1))
        assert store.end("job-1", 0, Outcome(state=State.MISSED, reason="broker"), KEEP)
        assert waiting(store) == []
        store.sent(["job-1"])
        assert record(store, fire(1)).state is State.MISSED

    def test_an_unwatched_run_is_closed_when_it_is_sent(self, store: Store) -> None:
        know(store)
        grant(store, replace(fire(1), watched=False, limit=0))
        store.sent(["job-1"])
        found = record(store, fire(1))
        assert verdict_of(found) == (State.SENT, "unwatched")
        assert found.ended_at is not None
        assert store.end("job-1", 0, SUCCESS, KEEP) is False
        assert store.begin(ticket(fire(1))).admission is Admission.DUPLICATE
        assert store.renew("w", [Renewal(id="job-1", token=0, accepted=False)], LONG) == {"job-1": Kept.LOST}
        assert store.reap(10) == []

    def test_a_watched_run_that_nobody_can_watch_is_closed_as_sent(self, store: Store) -> None:
        know(store)
        before = store.now()
        grant(store, fire(1))
        outcome = Outcome(state=State.SENT, reason="unwatched", error="2 messages were sent for it")
        assert store.end("job-1", 0, outcome, KEEP)
        found = record(store, fire(1))
        assert (verdict_of(found), found.error) == ((State.SENT, "unwatched"), "2 messages were sent for it")
        assert found.sent_at is not None and found.ended_at is not None
        assert before <= found.sent_at <= store.now()
        assert (store.locks(), waiting(store)) == ([], [])
        assert store.unsent(NO_TIME, 10, NO_TIME) == []
        assert store.begin(ticket(fire(1))).admission is Admission.DUPLICATE
        [again] = store.claim([fire(2)], "beat-1", None, LONG)
        assert again.granted is Granted.RUN

    @pytest.mark.parametrize("confirmed", ["before", "after"])
    def test_a_worker_closes_a_run_that_it_cannot_watch(self, store: Store, clock: Advancing, confirmed: str) -> None:
        know(store)
        grant(store, fire(1))
        if confirmed == "before":
            store.sent(["job-1"])
        unwatched = Outcome(state=State.SENT, reason=Reason.UNWATCHED)
        assert store.end("job-1", 0, unwatched, KEEP) is True
        store.sent(["job-1"])
        assert verdict_of(record(store, fire(1))) == (State.SENT, "unwatched")
        assert holders(store) == []
        assert store.begin(ticket(fire(1))).admission is Admission.DUPLICATE
        # Nobody takes its message for lost.
        attend(store, "celery", idle=self.tick)
        clock.advance(2 * self.tick)
        attend(store, "celery", idle=self.tick)
        clock.advance(2 * self.tick)
        assert store.unsent(NO_TIME, 10, self.tick) == []
        assert grant(store, fire(2)) == [Granted.RUN]

    def test_closed_unwatched_runs_are_trimmed(self, keeping: Keeping) -> None:
        store = keeping(Retention(size=2))
        know(store)
        for number in (1, 2, 3):
            grant(store, replace(fire(number), watched=False, limit=0))
            store.sent([f"job-{number}"])
        assert [found.id for found in store.runs("job", 10)] == ["job-3", "job-2"]

    def test_a_confirmation_names_several_runs(self, store: Store) -> None:
        know(store, "a", "b", "c")
        grant(store, *(fire(1, name) for name in ("a", "b", "c")))
        store.sent(["a-1", "nobody", "c-1"])
        assert waiting(store) == ["b-1"]

    def test_a_begun_run_is_not_unsent(self, store: Store) -> None:
        know(store)
        run(store, fire(1))
        assert waiting(store) == []
