"""Store conformance: what people look at, and waking."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from threading import Thread

import pytest

from celery_legion.run import State
from celery_legion.stores.base import (
    Admission,
    Granted,
    Holder,
    JobState,
    Kept,
    Lock,
    Pause,
    Renewal,
    Request,
    Store,
    WorkerInfo,
)
from celery_legion.testing.conformance_case import (
    BASE,
    BEAT,
    KEEP,
    LONG,
    SUCCESS,
    Advancing,
    Case,
    attend,
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
)

PATIENCE = timedelta(seconds=10)


def without_spans(locks: list[Lock]) -> list[Lock]:
    """Return *locks* without the time that their leases still have."""
    zero = timedelta(0)
    return [replace(lock, holders=tuple(replace(holder, expires_in=zero) for holder in lock.holders)) for lock in locks]


class ReadingConformance(Case):
    """``get``, ``states``, ``runs``."""

    def test_an_unknown_run_is_none(self, store: Store) -> None:
        assert store.get("nobody") is None

    def test_a_job_never_seen_has_an_empty_state(self, store: Store) -> None:
        assert store.states(["nobody"]) == {"nobody": JobState(name="nobody")}
        assert store.states([]) == {}

    def test_a_state_shows_mark_anchor_newest_run_and_newest_record(self, store: Store) -> None:
        know(store)
        run(store, fire(1))
        grant(store, fire(2))
        state = store.states(["job", "nobody"])["job"]
        assert (state.name, state.mark, state.anchor, state.pause) == ("job", minute(2), BASE, None)
        assert state.last == record(store, fire(1))
        assert state.latest is not None
        assert (state.latest.id, state.latest.state, state.latest.fire_time) == (None, State.SKIPPED, minute(2))

    def test_the_newest_run_is_the_newest_record_when_it_is(self, store: Store) -> None:
        know(store)
        grant(store, replace(fire(1), run_id=None, lapses=(skip(1, "paused"),)))
        assert store.states(["job"])["job"].last is None
        run(store, fire(2))
        state = store.states(["job"])["job"]
        assert state.last == state.latest == record(store, fire(2))

    def test_a_state_shows_the_pause_in_force(self, store: Store, clock: Advancing) -> None:
        now = store.now()
        everything = Pause(name="*", since=now, note="freeze")
        own = Pause(name="job", since=now, until=now + LONG)
        store.pause(own)
        store.pause(everything)
        store.pause(Pause(name="over", since=now, until=now + self.tick))
        clock.advance(2 * self.tick)
        states = store.states(["job", "other", "over"])
        assert [states[name].pause for name in ("job", "other", "over")] == [own, everything, everything]

    def test_a_note_that_nobody_could_write_out_makes_nothing_unreadable(self, store: Store) -> None:
        now = store.now()
        store.pause(Pause(name="other", since=now, note="ß🎉"))
        # As a shell's bytes come that are no UTF-8, and as JSON may hold them.
        store.pause(Pause(name="job", since=now, note="a\udcffb\ud800c"))
        expected = {"job": "a?b?c", "other": "ß🎉"}
        assert {name: pause.note for name, pause in store.pauses().items()} == expected
        assert {name: (s.pause.note if s.pause else "") for name, s in store.states(list(expected)).items()} == expected
        assert store.resume("job")

    def test_the_records_of_a_job_come_newest_first_and_at_most_limit(self, store: Store) -> None:
        know(store, "job", "other")
        complete(store, fire(1))
        grant(store, replace(fire(2), run_id=None, lapses=(skip(2, "paused"),)))
        complete(store, fire(1, "other"))
        complete(store, fire(3))
        assert [found.id for found in store.runs("job", 10)] == ["job-3", None, "job-1"]
        assert [found.id for found in store.runs("job", 2)] == ["job-3", None]
        assert store.runs("job", 0) == store.runs(None, 0) == []
        assert store.runs("nobody", 10) == []
        assert store.runs("job", 10)[0] == record(store, fire(3))

    def test_the_records_of_all_jobs_come_newest_first(self, store: Store, clock: Advancing) -> None:
        know(store, "a", "b", "c")
        steps = [
            fire(1, "b"),
            fire(1, "a"),
            replace(fire(1, "c"), run_id=None, lapses=(skip(1, "paused"),)),
            replace(fire(2, "b"), limit=0),
        ]
        for claim in steps:
            grant(store, claim)
            clock.advance(self.tick)
        assert [(found.job, found.id) for found in store.runs(None, 10)] == [
            ("b", "b-2"),
            ("c", None),
            ("a", "a-1"),
            ("b", "b-1"),
        ]
        assert [found.id for found in store.runs(None, 2)] == ["b-2", None]

    def test_the_newest_records_of_many_jobs_come_in_order(self, store: Store, clock: Advancing) -> None:
        names = [f"job-{number}" for number in range(45)]
        know(store, *names)
        grant(store, *(fire(1, name) for name in names))
        clock.advance(self.tick)
        grant(store, fire(2, "job-44"), fire(2, "job-0"))
        newest = {(found.job, found.fire_time) for found in store.runs(None, 2)}
        assert newest == {("job-44", minute(2)), ("job-0", minute(2))}
        assert len(store.runs(None, 40)) == 40
        assert len({(found.job, found.fire_time) for found in store.runs(None, 100)}) == 47

    def test_a_run_is_as_new_as_its_claim_among_the_records_of_all(self, store: Store, clock: Advancing) -> None:
        know(store, "ends", "starts")
        token = run(store, fire(1, "ends"))
        clock.advance(self.tick)
        grant(store, fire(1, "starts"))
        clock.advance(self.tick)
        store.end("ends-1", token, SUCCESS, KEEP)
        assert [found.id for found in store.runs(None, 10)] == ["starts-1", "ends-1"]
        assert [found.id for found in store.runs(None, 1)] == ["starts-1"]


class LockConformance(Case):
    """``locks``, ``release``."""

    def test_locks_are_shown_by_name_with_their_holders(self, store: Store) -> None:
        know(store, "b", "a")
        dispatch(store, fire(1, "b"))
        run(store, replace(fire(1, "a"), lock="z"))
        found = store.locks()
        assert all(timedelta(0) < holder.expires_in <= LONG for lock in found for holder in lock.holders)
        zero = timedelta(0)
        assert without_spans(found) == [
            Lock(name="b", holders=(Holder(run_id="b-1", job="b", state=State.SENT, expires_in=zero),)),
            Lock(
                name="z",
                holders=(Holder(run_id="a-1", job="a", state=State.RUNNING, expires_in=zero, worker="worker-1"),),
            ),
        ]

    def test_a_begun_runs_lock_lives_under_its_lease(self, store: Store) -> None:
        know(store)
        dispatch(store, fire(1))
        start(store, replace(ticket(fire(1)), lease=LONG / 2))
        [lock] = store.locks()
        assert LONG / 3 < lock.holders[0].expires_in <= LONG / 2

    def test_all_holders_of_a_lock_are_shown(self, store: Store) -> None:
        know(store)
        grant(store, *(replace(fire(number), limit=3) for number in (1, 2, 3)))
        assert sorted(holders(store)) == ["job-1", "job-2", "job-3"]

    def test_a_lock_whose_lease_is_over_is_not_shown(self, store: Store, clock: Advancing) -> None:
        know(store)
        grant(store, replace(fire(1), lock_ttl=self.tick))
        clock.advance(2 * self.tick)
        assert store.locks() == []
        assert store.release("job") == []

    def test_a_released_lock_is_free_and_its_run_goes_on(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        held = without_spans(store.locks())
        assert without_spans(store.release("job")) == held
        assert store.locks() == []
        assert (record(store, fire(1)).state, record(store, fire(1)).token) == (State.RUNNING, token)
        assert grant(store, fire(2)) == [Granted.RUN]

    def test_a_run_does_not_take_back_a_lock_that_was_cleared(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        store.release("job")
        kept = [Renewal(id=id_of(fire(1)), token=token, accepted=True)]
        assert store.renew("worker-1", kept, LONG) == {id_of(fire(1)): Kept.OK}
        assert store.locks() == []
        later = run(store, fire(2))
        assert store.renew("worker-1", kept, LONG) == {id_of(fire(1)): Kept.OK}
        assert holders(store) == [id_of(fire(2))]
        assert store.end(id_of(fire(1)), token, SUCCESS, KEEP)
        assert holders(store) == [id_of(fire(2))]
        assert store.end(id_of(fire(2)), later, SUCCESS, KEEP)

    def test_the_retry_of_a_run_whose_lock_was_cleared_asks_for_it_again(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        store.release("job")
        assert store.park(id_of(fire(1)), token, BASE, 1)
        assert store.locks() == []
        run(store, fire(2))
        again = replace(ticket(fire(1), asker="retry"), retries=1)
        assert store.begin(again).admission is Admission.SUPERSEDED
        assert holders(store) == [id_of(fire(2))]

    def test_a_run_that_waits_for_its_retry_does_not_take_back_a_lock_that_was_cleared(self, store: Store) -> None:
        know(store)
        token = run(store, fire(1))
        assert store.park(id_of(fire(1)), token, BASE, 1)
        store.release("job")
        later = dispatch(store, fire(2))
        kept = [Renewal(id=id_of(fire(1)), token=0, accepted=False)]
        assert store.renew("worker-1", kept, LONG) == {id_of(fire(1)): Kept.OK}
        assert holders(store) == [later]
        assert record(store, fire(2)).state is State.SENT

    def test_one_lock_or_all_are_released(self, store: Store) -> None:
        know(store, "a", "b", "c")
        grant(store, *(fire(1, name) for name in ("c", "b", "a")))
        assert [lock.name for lock in store.release("b")] == ["b"]
        assert [lock.name for lock in store.locks()] == ["a", "c"]
        assert [lock.name for lock in store.release(None)] == ["a", "c"]
        assert store.locks() == []
        assert store.release(None) == store.release("nobody") == []


class WorkerConformance(Case):
    """``register``, ``workers``, ``queues``."""

    def test_workers_are_shown_by_name_as_long_as_their_lease_runs(self, store: Store, clock: Advancing) -> None:
        attend(store, "celery", "slow", name="b", lease=LONG)
        attend(store, "celery", name="c", lease=self.tick)
        store.register(WorkerInfo(name="a", queues=(), version="1", pid=7, remote=False), LONG)
        clock.advance(2 * self.tick)
        found = store.workers()
        assert all(timedelta(0) < worker.expires_in <= LONG for worker in found)
        assert [replace(worker, expires_in=timedelta(0)) for worker in found] == [
            WorkerInfo(name="a", queues=(), version="1", pid=7, remote=False),
            WorkerInfo(name="b", queues=("celery", "slow"), version="1", pid=7),
        ]

    def test_registering_again_renews_and_replaces(self, store: Store, clock: Advancing) -> None:
        attend(store, "celery", name="a", lease=self.tick)
        attend(store, "other", name="a", lease=LONG)
        clock.advance(2 * self.tick)
        assert [worker.queues for worker in store.workers()] == [("other",)]

    def test_queues_are_remembered_for_ever(self, store: Store, clock: Advancing) -> None:
        assert store.queues() == frozenset()
        attend(store, "celery", "slow", name="a", lease=self.tick)
        clock.advance(2 * self.tick)
        attend(store, "celery", "fast", name="b")
        store.hand_back("b")
        assert store.queues() == {"celery", "slow", "fast"}


WAKING: dict[str, Callable[[Store], object]] = {
    "wake": lambda store: store.wake(),
    "push": lambda store: store.push(Request(id="p1", body='{"id":"p1"}')),
    "put": lambda store: store.put("job", "{}"),
    "drop": lambda store: (store.put("job", "{}"), store.drop("job")),
    "resign": lambda store: (lead(store), store.resign(BEAT)),
}


def hurried(store: Store, worker: str, act: Callable[[], object], seconds: float = 5.0) -> bool:
    """Return whether *worker* is hurried by *act* while it listens."""
    answers: list[bool] = []
    listener = Thread(target=lambda: answers.append(store.hurried(worker, timedelta(seconds=seconds))), daemon=True)
    began = time.monotonic()
    listener.start()
    while listener.is_alive():
        act()
        listener.join(0.02)
    return answers == [True] and time.monotonic() - began < seconds / 2


class WakingConformance(Case):
    """``wake``, ``wait``, and what else a driver is."""

    @pytest.mark.parametrize("verb", sorted(WAKING))
    def test_who_waits_is_woken(self, store: Store, verb: str) -> None:
        answers: list[bool] = []
        waiter = Thread(target=lambda: answers.append(store.wait(PATIENCE)), daemon=True)
        began = time.monotonic()
        waiter.start()
        while waiter.is_alive() and time.monotonic() - began < PATIENCE.total_seconds() * 2:
            WAKING[verb](store)
            waiter.join(0.02)
        assert answers == [True]
        assert time.monotonic() - began < PATIENCE.total_seconds() / 2

    def test_who_is_not_woken_really_waits(self, store: Store) -> None:
        began = time.monotonic()
        assert store.wait(timedelta(milliseconds=60)) is False
        assert time.monotonic() - began >= 0.05

    def test_no_time_to_wait_is_no_wait(self, store: Store) -> None:
        assert store.wait(timedelta(0)) is False

    @pytest.mark.parametrize("everyone", [False, True])
    def test_a_worker_that_listens_is_hurried(self, store: Store, everyone: bool) -> None:
        assert hurried(store, "w", lambda: store.hurry(None if everyone else "w"))

    def test_whose_run_shall_be_interrupted_is_hurried(self, store: Store) -> None:
        know(store)
        run(store, fire(1))
        assert hurried(store, "worker-1", lambda: store.interrupt("job-1", 15, LONG))

    def test_no_other_worker_is_hurried_and_no_scheduler_woken(self, store: Store) -> None:
        know(store)
        run(store, fire(1))

        def act() -> None:
            store.hurry("v")
            store.interrupt("job-1", 15, LONG)

        assert not hurried(store, "w", act, 0.3)
        answers: list[bool] = []
        waiter = Thread(target=lambda: answers.append(store.wait(timedelta(milliseconds=300))), daemon=True)
        waiter.start()
        while waiter.is_alive():
            store.hurry()
            waiter.join(0.02)
        assert answers == [False]

    def test_a_worker_that_is_not_hurried_really_waits(self, store: Store) -> None:
        began = time.monotonic()
        assert store.hurried("w", timedelta(milliseconds=60)) is False
        assert time.monotonic() - began >= 0.05
        assert store.hurried("w", timedelta(0)) is False

    def test_the_stores_time_is_aware_utc_and_whole_milliseconds(self, store: Store, clock: Advancing) -> None:
        first = store.now()
        assert first.utcoffset() == timedelta(0)
        assert first.microsecond % 1000 == 0
        clock.advance(2 * self.tick)
        assert store.now() - first >= 2 * self.tick - timedelta(milliseconds=1)

    def test_warnings_are_sentences(self, store: Store) -> None:
        store.ping()
        assert all(isinstance(warning, str) and warning for warning in store.warnings())

    def test_a_store_is_used_again_after_its_connections_were_dropped(self, store: Store) -> None:
        know(store)
        store.forget_connections()
        assert grant(store, fire(1)) == [Granted.RUN]

    def test_a_store_may_be_closed_twice(self, store: Store) -> None:
        store.ping()
        store.close()
        store.close()
