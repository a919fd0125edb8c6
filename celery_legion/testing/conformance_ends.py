"""Store conformance: ends, what is reaped, and what of the past is kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from celery_legion.run import State
from celery_legion.stores.base import Admission, Granted, Outcome, Retention, Store
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
    id_of,
    know,
    lead,
    minute,
    record,
    run,
    skip,
    start,
    ticket,
    verdict_of,
)

FAILURE = Outcome(state=State.FAILED, reason="time_limit")


def verdicts(store: Store, limit: int = 10) -> dict[str | None, tuple[State, str | None]]:
    """Reap once, and return what became of which run."""
    return {ended.id: verdict_of(ended) for ended in store.reap(limit)}


class EndConformance(Case):
    """``end``."""

    def test_an_end_is_written_with_all_that_it_says(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        outcome = Outcome(
            state=State.FAILED,
            reason="time_limit",
            started_at=minute(2),
            ended_at=minute(3),
            pid=42,
            exit_code=-9,
            error="CommandFailedError: ß\nline 2",
            output='out "ü"\n\ttab',
        )
        before = record(store, fire(1))
        assert store.end("job-1", token, outcome, KEEP) is True
        assert record(store, fire(1)) == replace(
            before,
            state=State.FAILED,
            reason="time_limit",
            started_at=minute(2),
            ended_at=minute(3),
            pid=42,
            exit_code=-9,
            error="CommandFailedError: ß\nline 2",
            output='out "ü"\n\ttab',
        )

    def test_what_is_not_said_stays_or_is_the_stores_own(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        before = record(store, fire(1))
        store.end("job-1", token, SUCCESS, KEEP)
        found = record(store, fire(1))
        assert found.started_at == before.started_at
        assert found.ended_at is not None
        assert before.started_at is not None
        assert before.started_at <= found.ended_at <= store.now()
        assert (found.pid, found.exit_code, found.error, found.output, found.reason) == (None,) * 5

    def test_an_exit_code_of_zero_is_kept(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        store.end("job-1", token, replace(SUCCESS, exit_code=0), KEEP)
        assert record(store, fire(1)).exit_code == 0

    def test_the_first_end_wins(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        assert store.end("job-1", token, FAILURE, KEEP) is True
        before = record(store, fire(1))
        assert store.end("job-1", token, replace(SUCCESS, pid=1), KEEP) is False
        assert store.end("job-1", 0, SUCCESS, KEEP) is False
        assert record(store, fire(1)) == before

    def test_a_begun_run_ends_by_its_current_token_only(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        for wrong in (0, token + 100):
            assert store.end("job-1", wrong, SUCCESS, KEEP) is False
        assert record(store, fire(1)).state is State.RUNNING
        assert holders(store) == ["job-1"]

    def test_a_run_that_never_began_ends_by_token_zero_only(self, store: Store) -> None:
        know(store, "claimed", "sent")
        grant(store, fire(1, "claimed"))
        dispatch(store, fire(1, "sent"))
        assert store.end("sent-1", 1, SUCCESS, KEEP) is False
        assert store.end("sent-1", 0, Outcome(state=State.EXPIRED, reason="expires"), KEEP) is True
        assert store.end("claimed-1", 0, Outcome(state=State.MISSED, reason="broker"), KEEP) is True
        assert verdict_of(record(store, fire(1, "sent"))) == (State.EXPIRED, "expires")
        assert verdict_of(record(store, fire(1, "claimed"))) == (State.MISSED, "broker")
        assert store.locks() == []
        assert store.unsent(timedelta(0), 10) == []

    def test_a_parked_run_ends_by_its_token(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        store.park("job-1", token, store.now() + LONG, 1)
        assert store.end("job-1", 0, FAILURE, KEEP) is False
        assert store.end("job-1", token, FAILURE, KEEP) is True

    def test_an_unknown_run_cannot_end(self, store: Store) -> None:
        assert store.end("nobody", 0, SUCCESS, KEEP) is False
        assert store.get("nobody") is None

    def test_an_end_releases_the_lock(self, store: Store) -> None:
        know(store)
        complete(store, fire(1))
        assert store.locks() == []
        assert grant(store, fire(2)) == [Granted.RUN]

    def test_an_end_leaves_a_lock_that_is_anothers(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, replace(fire(1), lock_ttl=self.tick))
        clock.advance(2 * self.tick)
        grant(store, fire(2))
        assert store.end("job-1", 0, FAILURE, KEEP) is True
        assert holders(store) == ["job-2"]

    def test_a_dying_run_keeps_its_lock_for_its_span(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        assert store.end("job-1", token, replace(FAILURE, dying=LONG / 2), KEEP)
        assert record(store, fire(1)).state is State.FAILED
        assert store.claim([fire(2)], "beat-1", None, LONG)[0].holder == "job-1"
        [lock] = store.locks()
        assert lock.holders[0].expires_in <= LONG / 2

    def test_a_dying_run_takes_no_lock_that_it_has_lost(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        store.release("job")
        store.end("job-1", token, replace(FAILURE, dying=LONG), KEEP)
        assert store.locks() == []

    def test_a_dying_runs_lock_is_free_after_its_span(self, store: Store, clock: Advancing) -> None:
        know(store)
        token = run(store, fire(1))
        store.end("job-1", token, replace(FAILURE, dying=self.tick), KEEP)
        clock.advance(2 * self.tick)
        assert grant(store, fire(2)) == [Granted.RUN]

    def test_an_ended_run_is_not_reaped(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, fire(1))
        token = start(store, replace(ticket(fire(1)), lease=self.tick))
        store.end("job-1", token, SUCCESS, KEEP)
        clock.advance(2 * self.tick)
        assert store.reap(10) == []
        assert record(store, fire(1)).state is State.SUCCEEDED


class ReapConformance(Case):
    """What ``reap`` ends."""

    def test_a_running_run_whose_lease_is_over_is_lost(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, fire(1))
        token = start(store, replace(ticket(fire(1)), lease=self.tick))
        assert store.reap(10) == [] or record(store, fire(1)).state is State.LOST
        clock.advance(2 * self.tick)
        store.reap(10)
        found = record(store, fire(1))
        assert verdict_of(found) == (State.LOST, "process_lost")
        assert found.ended_at is not None
        assert store.locks() == []
        assert store.end("job-1", token, SUCCESS, KEEP) is False
        assert store.begin(ticket(fire(1), "delivery-2")).admission is Admission.DUPLICATE

    def test_the_ended_records_are_returned_once(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, fire(1))
        start(store, replace(ticket(fire(1)), lease=self.tick))
        clock.advance(2 * self.tick)
        ended = store.reap(10)
        assert ended == [record(store, fire(1))]
        assert store.reap(10) == []

    def test_a_late_run_has_the_visibility_timeout_as_grace(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, fire(1))
        start(store, replace(ticket(fire(1)), lease=self.tick, late=True, visibility=LONG))
        clock.advance(2 * self.tick)
        assert store.reap(10) == []
        assert record(store, fire(1)).state is State.RUNNING
        again = replace(ticket(fire(1), "delivery-2", "worker-2"), late=True, redelivered=True)
        answer = store.begin(again)
        assert (answer.admission, answer.attempt) == (Admission.GO, 2)

    def test_a_late_run_is_lost_after_its_grace(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, fire(1))
        start(store, replace(ticket(fire(1)), lease=self.tick, late=True, visibility=self.tick))
        clock.advance(3 * self.tick)
        assert verdicts(store) == {"job-1": (State.LOST, "process_lost")}

    def test_a_sent_run_whose_queue_time_is_over_expires(self, store: Store, clock: Advancing) -> None:
        know(store, "locked", "unlocked")
        for name, limit in (("locked", 1), ("unlocked", 0)):
            dispatch(store, replace(fire(1, name), limit=limit, lock_ttl=self.tick))
        clock.advance(2 * self.tick)
        assert verdicts(store) == dict.fromkeys(("locked-1", "unlocked-1"), (State.EXPIRED, "queue"))
        assert store.locks() == []
        assert record(store, fire(1, "locked")).ended_at is not None

    def test_queue_time_counts_from_the_sending(self, store: Store, clock: Advancing) -> None:
        know(store)
        grant(store, replace(fire(1), lock_ttl=5 * self.tick))
        clock.advance(3 * self.tick)
        store.sent(["job-1"])
        clock.advance(3 * self.tick)
        assert store.reap(10) == []

    def test_a_sent_run_whose_deadline_has_passed_expires(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, replace(fire(1), deadline=store.now() + self.tick))
        clock.advance(2 * self.tick)
        assert verdicts(store) == {"job-1": (State.EXPIRED, "past_deadline")}
        assert store.locks() == []

    def test_a_begun_run_has_no_deadline_any_more(self, store: Store, clock: Advancing) -> None:
        know(store)
        run(store, replace(fire(1), deadline=store.now() + 2 * self.tick, lock_ttl=2 * self.tick))
        clock.advance(3 * self.tick)
        assert store.reap(10) == []

    def test_a_run_that_was_not_sent_is_left_to_its_publisher(self, store: Store, clock: Advancing) -> None:
        know(store)
        grant(store, replace(fire(1), lock_ttl=self.tick, deadline=store.now() + self.tick))
        clock.advance(2 * self.tick)
        assert store.reap(10) == []
        assert [waiting.id for waiting in store.unsent(self.tick, 10)] == ["job-1"]

    def test_at_most_limit_of_each_sort_end_in_one_call(self, store: Store, clock: Advancing) -> None:
        names = ("run-a", "run-b", "run-c", "sent-a", "sent-b", "sent-c")
        know(store, *names)
        for name in names:
            claim = replace(fire(1, name), lock_ttl=self.tick)
            dispatch(store, claim)
            if name.startswith("run"):
                start(store, replace(ticket(claim), lease=self.tick))
        clock.advance(2 * self.tick)
        seen = [sorted(ended.job[:3] for ended in store.reap(2)) for _ in range(3)]
        assert seen == [["run", "run", "sen", "sen"], ["run", "sen"], []]

    def test_reaping_needs_no_lead_and_leaves_it(self, store: Store) -> None:
        epoch = lead(store).epoch
        assert store.reap(10) == []
        assert lead(store).epoch == epoch


class RetentionConformance(Case):
    """How much of the past is kept."""

    def test_a_jobs_ledger_keeps_its_size(self, keeping: Keeping) -> None:
        store = keeping(Retention(size=3))
        know(store, "job", "other")
        complete(store, fire(1, "other"))
        for number in range(1, 6):
            complete(store, fire(number))
        assert [found.id for found in store.runs("job", 10)] == ["job-5", "job-4", "job-3"]
        assert (store.get("job-2"), store.get("job-1")) == (None, None)
        assert len(store.runs("other", 10)) == 1

    def test_lapses_count_and_are_trimmed_too(self, keeping: Keeping) -> None:
        store = keeping(Retention(size=2))
        know(store)
        for number, reason in enumerate(("paused", "condition", "paused", "limit"), start=1):
            grant(store, replace(fire(number), run_id=None, lapses=(skip(number, reason),)))
        assert [found.reason for found in store.runs("job", 10)] == ["limit", "paused"]

    def test_a_run_that_has_not_ended_is_never_trimmed(self, keeping: Keeping) -> None:
        store = keeping(Retention(size=2, total=0, age=timedelta(0)))
        know(store)
        claims = [replace(fire(number), limit=0) for number in range(1, 6)]
        token = run(store, claims[0])
        for claim in claims[1:]:
            run(store, claim)
        store.reap(10)
        assert len(store.runs("job", 10)) == 5
        assert store.end(id_of(claims[0]), token, SUCCESS, KEEP) is True

    def test_a_run_that_begins_after_it_expired_in_its_queue_is_not_trimmed(
        self, keeping: Keeping, clock: Advancing
    ) -> None:
        store = keeping(Retention(total=1))
        know(store, "job", "other")
        dispatch(store, replace(fire(1), lock_ttl=self.tick))
        clock.advance(2 * self.tick)
        assert verdicts(store) == {"job-1": (State.EXPIRED, "queue")}
        start(store, ticket(fire(1)))
        complete(store, fire(1, "other"))
        store.reap(10)
        assert record(store, fire(1)).state is State.RUNNING
        assert record(store, fire(1, "other")).state is State.SUCCEEDED

    def test_the_oldest_ends_beyond_the_total_are_trimmed(self, keeping: Keeping, clock: Advancing) -> None:
        store = keeping(Retention(total=2))
        names = ("a", "b", "c", "d")
        know(store, *names)
        for name in reversed(names):
            complete(store, fire(1, name))
            clock.advance(self.tick)
        assert store.reap(10) == []
        assert [name for name in names if store.get(f"{name}-1")] == ["a", "b"]
        assert [len(store.runs(name, 10)) for name in names] == [1, 1, 0, 0]
        assert len(store.runs(None, 10)) == 2

    def test_what_ended_longer_ago_than_the_age_is_trimmed(self, keeping: Keeping, clock: Advancing) -> None:
        store = keeping(Retention(age=5 * self.tick))
        know(store, "old", "young")
        complete(store, fire(1, "old"))
        clock.advance(8 * self.tick)
        complete(store, fire(1, "young"))
        store.reap(10)
        assert store.get("old-1") is None
        assert store.runs("old", 10) == []
        assert store.get("young-1") is not None
        assert store.states(["old"])["old"].mark == minute(1)

    def test_a_message_of_a_trimmed_run_does_not_run_again(self, keeping: Keeping) -> None:
        store = keeping(Retention(total=0))
        know(store)
        complete(store, fire(1))
        store.reap(10)
        assert store.get("job-1") is None
        assert store.begin(ticket(fire(1), "delivery-2")).admission is Admission.DUPLICATE

    def test_a_trimmed_job_still_knows_its_last_success(self, keeping: Keeping) -> None:
        store = keeping(Retention(total=0))
        know(store)
        complete(store, fire(1))
        store.reap(10)
        dispatch(store, fire(2))
        assert store.begin(ticket(fire(2))).previous_success == minute(1) > BASE
