"""Store conformance: fires that become no run, and repeated claims."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from celery_legion.run import State
from celery_legion.stores.base import Claim, Granted, Store, Verdict
from celery_legion.testing.conformance_case import (
    BASE,
    BEAT,
    LONG,
    OTHER,
    Advancing,
    Case,
    attend,
    dispatch,
    fire,
    grant,
    holders,
    know,
    lead,
    minute,
    run,
    skip,
    start,
    ticket,
    verdict_of,
)


class LapseConformance(Case):
    """Fires that become no run."""

    def test_only_lapses_are_written_and_the_mark_moves(self, store: Store) -> None:
        know(store)
        claim = replace(fire(3), mark=BASE, run_id=None, lapses=(skip(1, "catch_up", last=3, count=3),))
        assert store.claim([claim], BEAT, None, LONG) == [Verdict(granted=Granted.LAPSED, mark=minute(3))]
        [found] = store.runs("job", 10)
        assert (found.id, found.job, verdict_of(found)) == (None, "job", (State.SKIPPED, "catch_up"))
        assert (found.fire_time, found.last_fire_time, found.count) == (minute(1), minute(3), 3)
        assert found.scheduler == BEAT
        assert holders(store) == []

    def test_lapses_are_written_in_order_before_the_run(self, store: Store) -> None:
        know(store)
        missed = replace(skip(2, "catch_up"), state=State.MISSED)
        claim = replace(fire(3), mark=BASE, lapses=(skip(1, "catch_up"), missed))
        assert grant(store, claim) == [Granted.RUN]
        assert [(found.state, found.fire_time) for found in store.runs("job", 10)] == [
            (State.CLAIMED, minute(3)),
            (State.MISSED, minute(2)),
            (State.SKIPPED, minute(1)),
        ]

    def test_consecutive_lapses_of_one_reason_are_one_record(self, store: Store) -> None:
        know(store)
        for number in (1, 2):
            grant(store, replace(fire(number), run_id=None, lapses=(skip(number, "paused"),)))
        grant(store, replace(fire(5), mark=minute(2), run_id=None, lapses=(skip(3, "paused", last=5, count=3),)))
        [found] = store.runs("job", 10)
        assert (found.fire_time, found.last_fire_time, found.count) == (minute(1), minute(5), 5)

    def test_another_reason_or_state_is_another_record(self, store: Store) -> None:
        know(store)
        lapses = (
            skip(1, "paused"),
            skip(2, "condition"),
            skip(3, "paused"),
            replace(skip(4, "paused"), state=State.MISSED),
        )
        grant(store, replace(fire(4), mark=BASE, run_id=None, lapses=lapses))
        assert [found.fire_time for found in store.runs("job", 10)] == [minute(4), minute(3), minute(2), minute(1)]

    def test_a_run_between_two_lapses_ends_the_record(self, store: Store) -> None:
        know(store)
        grant(store, replace(fire(1), run_id=None, lapses=(skip(1, "paused"),)))
        grant(store, fire(2))
        grant(store, replace(fire(3), run_id=None, lapses=(skip(3, "paused"),)))
        assert [(found.id, found.count) for found in store.runs("job", 10)] == [(None, 1), ("job-2", 1), (None, 1)]

    def test_lapses_of_two_jobs_are_two_records(self, store: Store) -> None:
        know(store, "a", "b")
        for name in ("a", "b"):
            grant(store, replace(fire(1, name), run_id=None, lapses=(skip(1, "paused"),)))
        assert [len(store.runs(name, 10)) for name in ("a", "b")] == [1, 1]


class OverlapConformance(Case):
    """Locks at the claim."""

    def test_a_fire_whose_lock_is_held_is_skipped_and_the_mark_moves(self, store: Store) -> None:
        know(store)
        grant(store, fire(1))
        verdict = store.claim([fire(2)], BEAT, None, LONG)
        assert verdict == [Verdict(granted=Granted.OVERLAP, mark=minute(2), holder="job-1")]
        assert (store.states(["job"])["job"].mark, store.get("job-2"), holders(store)) == (minute(2), None, ["job-1"])
        latest = store.runs("job", 10)[0]
        assert (verdict_of(latest), latest.fire_time) == ((State.SKIPPED, "overlap"), minute(2))

    def test_consecutive_overlaps_are_one_record(self, store: Store) -> None:
        know(store)
        assert grant(store, fire(1), fire(2), fire(3)) == [Granted.RUN, Granted.OVERLAP, Granted.OVERLAP]
        grant(store, fire(4))
        skipped, started = store.runs("job", 10)
        assert (skipped.fire_time, skipped.last_fire_time, skipped.count) == (minute(2), minute(4), 3)
        assert started.id == "job-1"

    def test_limit_zero_takes_no_lock(self, store: Store) -> None:
        know(store)
        assert grant(store, *(replace(fire(number), limit=0) for number in (1, 2))) == [Granted.RUN] * 2
        assert store.locks() == []

    def test_limit_two_lets_two(self, store: Store) -> None:
        know(store)
        claims = [replace(fire(number), limit=2) for number in (1, 2, 3)]
        assert grant(store, *claims) == [Granted.RUN, Granted.RUN, Granted.OVERLAP]
        assert sorted(holders(store)) == ["job-1", "job-2"]

    def test_the_first_of_several_holders_is_named(self, store: Store, clock: Advancing) -> None:
        know(store)
        for number in (1, 2):
            dispatch(store, replace(fire(number), limit=2))
            clock.advance(self.tick)
        start(store, replace(ticket(replace(fire(2), limit=2)), lease=LONG / 2))
        assert store.claim([replace(fire(3), limit=2)], BEAT, None, LONG)[0].holder == "job-1"

    def test_jobs_share_a_lock_by_its_name(self, store: Store) -> None:
        know(store, "a", "b")
        assert grant(store, replace(fire(1, "a"), lock="shared")) == [Granted.RUN]
        verdict = store.claim([replace(fire(1, "b"), lock="shared")], BEAT, None, LONG)[0]
        assert (verdict.granted, verdict.holder) == (Granted.OVERLAP, "a-1")

    def test_a_lock_without_a_name_is_the_jobs(self, store: Store) -> None:
        know(store)
        grant(store, replace(fire(1), lock=""))
        assert holders(store) == ["job-1"]

    def test_a_lock_deduplicates_no_longer_than_its_ttl(self, store: Store, clock: Advancing) -> None:
        know(store)
        grant(store, replace(fire(1), lock_ttl=self.tick))
        clock.advance(2 * self.tick)
        assert grant(store, fire(2)) == [Granted.RUN]
        assert holders(store) == ["job-2"]


class RepeatConformance(Case):
    """A repeated claim: the first reply was lost."""

    def repeat(self, store: Store, claim: Claim) -> list[Verdict]:
        first = store.claim([claim], BEAT, None, LONG)
        written = store.runs(None, 10)
        assert store.claim([claim], BEAT, None, LONG) == first
        assert store.runs(None, 10) == written
        assert [verdict.granted for verdict in store.claim([claim], OTHER, None, LONG)] == [Granted.STALE]
        assert store.runs(None, 10) == written
        return first

    def test_a_granted_run_is_granted_again(self, store: Store) -> None:
        know(store)
        claim = replace(fire(1), lapses=(skip(1, "catch_up"),))
        assert self.repeat(store, claim)[0].granted is Granted.RUN
        assert len(store.unsent(timedelta(0), 10)) == 1

    def test_an_overlap_is_not_counted_twice(self, store: Store) -> None:
        know(store)
        grant(store, fire(1))
        assert self.repeat(store, fire(2)) == [Verdict(granted=Granted.OVERLAP, mark=minute(2), holder="job-1")]

    def test_an_overlap_stays_one_when_the_lock_is_free_meanwhile(self, store: Store) -> None:
        know(store)
        grant(store, fire(1), fire(2))
        store.release("job")
        assert grant(store, fire(2)) == [Granted.OVERLAP]
        assert store.get("job-2") is None

    def test_lapses_are_not_written_twice(self, store: Store) -> None:
        know(store)
        claim = replace(fire(1), run_id=None, lapses=(skip(1, "paused"),))
        assert self.repeat(store, claim)[0].granted is Granted.LAPSED

    def test_a_leader_repeats_at_its_epoch(self, store: Store) -> None:
        know(store)
        epoch = lead(store).epoch
        first = store.claim([fire(1)], BEAT, epoch, LONG)
        assert store.claim([fire(1)], BEAT, epoch, LONG) == first


class WorkerlessConformance(Case):
    """``NO_WORKER``: the lock's holder waits where nobody who knows legion works."""

    def test_a_fire_behind_a_run_that_no_worker_will_begin_is_skipped_as_no_worker(self, store: Store) -> None:
        know(store)
        dispatch(store, fire(1))
        verdict = store.claim([fire(2)], BEAT, None, LONG)[0]
        assert (verdict.granted, verdict.mark) == (Granted.NO_WORKER, minute(2))
        latest = store.runs("job", 1)[0]
        assert (verdict_of(latest), latest.fire_time) == ((State.SKIPPED, "no_worker"), minute(2))
        assert store.claim([fire(2)], BEAT, None, LONG)[0].granted is Granted.NO_WORKER
        assert store.runs("job", 1)[0].count == 1

    def test_a_worker_on_the_queue_makes_it_an_overlap(self, store: Store) -> None:
        know(store)
        dispatch(store, fire(1))
        attend(store, "other", name="worker-2")
        assert grant(store, fire(2)) == [Granted.NO_WORKER]
        attend(store, "more", "celery")
        assert grant(store, fire(3)) == [Granted.OVERLAP]

    def test_a_worker_whose_lease_is_over_is_none(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, fire(1))
        attend(store, "celery", lease=self.tick)
        clock.advance(2 * self.tick)
        assert grant(store, fire(2)) == [Granted.NO_WORKER]

    def test_a_worker_that_handed_back_is_none(self, store: Store) -> None:
        know(store)
        dispatch(store, fire(1))
        attend(store, "celery")
        store.hand_back("worker-1")
        assert grant(store, fire(2)) == [Granted.NO_WORKER]

    def test_a_holder_that_is_not_sent_has_begun_or_names_no_queue_overlaps(self, store: Store) -> None:
        know(store, "unsent", "begun", "queueless")
        grant(store, fire(1, "unsent"))
        run(store, fire(1, "begun"))
        dispatch(store, replace(fire(1, "queueless"), queue=None))
        claims = [fire(2, name) for name in ("unsent", "begun", "queueless")]
        assert grant(store, *claims) == [Granted.OVERLAP] * 3
