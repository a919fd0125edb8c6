"""Store conformance: claims, and what they write."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from celery_legion.run import Kind, State
from celery_legion.stores.base import CLAIM_LIMIT, Granted, Retention, Store, Verdict
from celery_legion.testing.conformance_case import (
    BASE,
    BEAT,
    KEEP,
    LONG,
    OTHER,
    SUCCESS,
    Advancing,
    Case,
    Keeping,
    complete,
    fire,
    grant,
    holders,
    id_of,
    know,
    lead,
    minute,
    pushed,
    record,
    run,
    skip,
    start,
    ticket,
    verdict_of,
)


def mark_of(store: Store, job: str = "job") -> datetime | None:
    """Return the mark that the store has for a job."""
    return store.states([job])[job].mark


class ClaimConformance(Case):
    """Who may claim, and what a granted claim writes."""

    def test_a_granted_claim_moves_the_mark_takes_the_lock_and_writes_the_run(self, store: Store) -> None:
        know(store)
        before = store.now()
        assert store.claim([fire()], BEAT, None, LONG) == [Verdict(granted=Granted.RUN, mark=minute(1))]
        assert mark_of(store) == minute(1)
        assert holders(store) == ["job-1"]
        found = record(store, fire())
        assert (found.id, found.job, found.kind, found.state) == ("job-1", "job", Kind.SCHEDULED, State.CLAIMED)
        assert (found.fire_time, found.last_fire_time, found.count) == (minute(1), minute(1), 1)
        assert (found.attempt, found.token, found.scheduler, found.reason) == (0, 0, BEAT, None)
        assert found.claimed_at is not None
        assert before <= found.claimed_at <= store.now()
        assert found.sent_at is found.started_at is found.ended_at is None

    def test_a_run_that_waits_says_when_one_of_its_job_succeeded_before_it(self, store: Store) -> None:
        know(store)
        store.claim([fire()], BEAT, None, LONG)
        assert record(store, fire()).previous_success is None
        token = start(store, ticket(fire()))
        assert store.end("job-1", token, SUCCESS, KEEP)
        store.claim([fire(2)], BEAT, None, LONG)
        assert record(store, fire(2)).previous_success == minute(1)

    def test_a_fire_goes_to_one_scheduler_only(self, store: Store) -> None:
        know(store)
        assert grant(store, fire()) == [Granted.RUN]
        assert store.claim([fire()], OTHER, None, LONG) == [Verdict(granted=Granted.STALE, mark=minute(1))]
        assert record(store, fire()).scheduler == BEAT

    def test_a_claim_from_another_mark_writes_nothing(self, store: Store) -> None:
        know(store)
        lapses = (skip(4, "catch_up"),)
        stale = replace(fire(5), lapses=lapses)
        assert store.claim([stale], BEAT, None, LONG) == [Verdict(granted=Granted.STALE, mark=BASE)]
        assert (mark_of(store), holders(store), store.runs("job", 10)) == (BASE, [], [])
        assert store.get("job-5") is None

    def test_a_claim_of_a_job_never_seen_is_stale(self, store: Store) -> None:
        assert store.claim([fire()], BEAT, None, LONG) == [Verdict(granted=Granted.STALE, mark=None)]

    def test_a_leader_claims_at_its_epoch(self, store: Store) -> None:
        know(store)
        epoch = lead(store).epoch
        assert [verdict.granted for verdict in store.claim([fire()], BEAT, epoch, LONG)] == [Granted.RUN]

    def test_who_does_not_lead_at_this_epoch_writes_nothing(self, store: Store, clock: Advancing) -> None:
        know(store)
        claims = [replace(fire(), lapses=(skip(1, "catch_up"),)), pushed("p1")]
        deposed = [Granted.DEPOSED, Granted.DEPOSED]

        def claim(owner: str, epoch: int) -> list[Granted]:
            return [verdict.granted for verdict in store.claim(claims, owner, epoch, LONG)]

        assert claim(BEAT, 1) == deposed
        epoch = lead(store, ttl=self.tick).epoch
        assert epoch is not None
        assert claim(BEAT, epoch + 1) == deposed
        assert claim(OTHER, epoch) == deposed
        clock.advance(2 * self.tick)
        assert claim(BEAT, epoch) == deposed
        second = lead(store, OTHER).epoch
        assert second is not None
        assert claim(BEAT, second) == claim(BEAT, epoch) == claim(OTHER, epoch) == deposed
        assert (mark_of(store), holders(store), store.runs(None, 10)) == (BASE, [], [])

    def test_who_is_deposed_is_told_the_mark_all_the_same(self, store: Store) -> None:
        know(store)
        claims = [fire(), fire(1, "unseen")]
        assert store.claim(claims, BEAT, 7, LONG) == [
            Verdict(granted=Granted.DEPOSED, mark=BASE),
            Verdict(granted=Granted.DEPOSED, mark=None),
        ]

    def test_a_one_shot_claims_beside_a_leader_and_leaves_its_lead(self, store: Store) -> None:
        know(store)
        epoch = lead(store, OTHER).epoch
        assert grant(store, fire(1)) == [Granted.RUN]
        assert lead(store, OTHER).epoch == epoch

    def test_a_claim_extends_the_lead(self, store: Store, clock: Advancing) -> None:
        know(store)
        epoch = lead(store, ttl=3 * self.tick).epoch
        store.claim([fire(1)], BEAT, epoch, LONG)
        clock.advance(4 * self.tick)
        assert lead(store, OTHER).epoch is None
        verdict = store.claim([replace(fire(2), limit=0)], BEAT, epoch, LONG)[0]
        assert verdict.granted is Granted.RUN

    def test_a_one_shot_extends_no_lead(self, store: Store, clock: Advancing) -> None:
        know(store)
        lead(store, ttl=self.tick)
        grant(store, fire(1))
        clock.advance(2 * self.tick)
        assert lead(store, OTHER).epoch is not None

    def test_verdicts_come_in_the_order_of_the_claims(self, store: Store) -> None:
        know(store, "a", "b", "c", "d")
        grant(store, pushed("p1"), fire(1, "b"))
        claims = [
            fire(1, "a"),
            fire(2, "b"),
            pushed("p1"),
            replace(fire(1, "c"), run_id=None, lapses=(skip(1, "paused"),)),
            fire(9, "d"),
            fire(1, "unseen"),
        ]
        store.sent(["p1"])
        assert grant(store, *claims) == [
            Granted.RUN,
            Granted.OVERLAP,
            Granted.KNOWN,
            Granted.LAPSED,
            Granted.STALE,
            Granted.STALE,
        ]

    def test_fires_of_one_job_in_one_call_follow_each_other(self, store: Store) -> None:
        know(store)
        claims = [replace(fire(number), limit=0) for number in (1, 2, 3)]
        assert grant(store, *claims) == [Granted.RUN] * 3
        assert mark_of(store) == minute(3)
        assert [found.id for found in store.runs("job", 10)] == ["job-3", "job-2", "job-1"]

    def test_the_second_fire_of_one_job_in_one_call_overlaps_the_first(self, store: Store) -> None:
        know(store)
        verdicts = store.claim([fire(1), fire(2)], BEAT, None, LONG)
        assert verdicts[1] == Verdict(granted=Granted.OVERLAP, mark=minute(2), holder="job-1")

    def test_at_most_two_hundred_claims_go_into_one_call(self, store: Store) -> None:
        names = [f"job{number:03}" for number in range(CLAIM_LIMIT)]
        know(store, *names)
        claims = [fire(1, name) for name in names]
        with pytest.raises(ValueError, match=str(CLAIM_LIMIT)):
            store.claim([*claims, fire(1, "more")], BEAT, None, LONG)
        assert store.runs(None, 10) == []
        assert grant(store, *claims) == [Granted.RUN] * CLAIM_LIMIT

    def test_no_claims_get_no_verdicts(self, store: Store) -> None:
        assert store.claim([], BEAT, None, LONG) == []

    def test_moments_are_kept_in_utc_and_cut_to_milliseconds(self, store: Store) -> None:
        know(store)
        zone = timezone(timedelta(hours=5, minutes=30))
        odd = (minute(1) + timedelta(microseconds=1999)).astimezone(zone)
        kept = minute(1) + timedelta(milliseconds=1)
        assert store.claim([replace(fire(), fire_time=odd)], BEAT, None, LONG)[0].mark == kept
        found = record(store, fire())
        assert found.fire_time == kept
        assert found.fire_time.utcoffset() == timedelta(0)
        assert grant(store, replace(fire(2), mark=odd, limit=0)) == [Granted.RUN]


class PushConformance(Case):
    """Claims of pushes."""

    def test_a_push_of_any_job_is_claimed_and_moves_no_mark(self, store: Store) -> None:
        know(store)
        assert grant(store, pushed("p1"), pushed("p2", "unseen")) == [Granted.RUN, Granted.RUN]
        assert (mark_of(store), mark_of(store, "unseen")) == (BASE, None)
        assert record(store, pushed("p1")).kind is Kind.PUSHED

    def test_the_verdict_on_a_push_says_the_mark_too(self, store: Store) -> None:
        know(store)
        assert store.claim([pushed("p1")], BEAT, None, LONG) == [Verdict(granted=Granted.RUN, mark=BASE)]

    def test_a_push_takes_the_lock(self, store: Store) -> None:
        know(store)
        grant(store, pushed("p1"))
        assert store.claim([fire(1)], BEAT, None, LONG)[0].holder == "p1"

    def test_a_push_that_overlaps_is_written_as_a_skip(self, store: Store) -> None:
        know(store)
        grant(store, fire(1))
        assert grant(store, pushed("p1")) == [Granted.OVERLAP]
        latest = store.runs("job", 1)[0]
        assert (latest.id, latest.kind, verdict_of(latest)) == (None, Kind.PUSHED, (State.SKIPPED, "overlap"))
        assert latest.fire_time == pushed("p1").fire_time
        assert (store.get("p1"), mark_of(store)) == (None, minute(1))

    def test_a_push_that_came_to_nothing_is_known_to_whoever_claims_it_again(self, store: Store) -> None:
        know(store)
        grant(store, fire(1))
        first = store.claim([pushed("p1")], BEAT, None, LONG)
        assert [verdict.granted for verdict in first] == [Granted.OVERLAP]
        assert store.claim([pushed("p1")], BEAT, None, LONG) == first
        assert grant(store, pushed("p1"), owner=OTHER) == [Granted.KNOWN]
        store.release("job")
        assert grant(store, pushed("p1"), owner=OTHER) == [Granted.KNOWN]
        skips = [one for one in store.runs("job", 10) if one.state is State.SKIPPED]
        assert [one.count for one in skips] == [1]

    def test_a_repeated_push_is_one_run(self, store: Store) -> None:
        claim = replace(pushed("p1"), limit=0, lapses=(skip(1, "paused"),))
        assert grant(store, claim) == [Granted.RUN]
        assert grant(store, claim) == [Granted.RUN]
        assert grant(store, claim, owner=OTHER) == [Granted.KNOWN]
        store.sent(["p1"])
        assert grant(store, claim) == [Granted.KNOWN]
        token = start(store, ticket(claim))
        assert grant(store, claim) == [Granted.KNOWN]
        store.end("p1", token, SUCCESS, KEEP)
        assert grant(store, claim) == [Granted.KNOWN]
        assert [found.id for found in store.runs("job", 10)] == ["p1", None]

    def test_a_push_is_known_as_long_as_the_done_memory_lasts(self, keeping: Keeping, clock: Advancing) -> None:
        store = keeping(Retention(size=1))
        for number, dedup in enumerate((LONG, self.tick)):
            claim = pushed(f"p{number}")
            token = run(store, claim)
            store.end(id_of(claim), token, SUCCESS, Retention(dedup=dedup))
        complete(store, pushed("last"))
        assert (store.get("p0"), store.get("p1")) == (None, None)
        clock.advance(2 * self.tick)
        assert grant(store, pushed("p0")) == [Granted.KNOWN]
        assert grant(store, pushed("p1")) == [Granted.RUN]
