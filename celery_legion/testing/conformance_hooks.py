"""Store conformance: which endings owe hooks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from celery_legion.run import Kind, State
from celery_legion.stores.base import Admission, Claim, Debt, Granted, Lapse, Outcome, Store, debt_id
from celery_legion.testing.conformance_case import (
    BEAT,
    KEEP,
    LONG,
    SUCCESS,
    Advancing,
    Case,
    complete,
    dispatch,
    fire,
    grant,
    id_of,
    know,
    minute,
    pushed,
    record,
    run,
    skip,
    start,
    ticket,
)

ENDINGS = frozenset(state for state in State if state.terminal)


def owing(claim: Claim, *states: State) -> Claim:
    """Return *claim* for a job that has hooks for *states* (none given = for every ending)."""
    return replace(claim, owes=frozenset(states) or ENDINGS)


def due(store: Store) -> list[Debt]:
    """Return the debts that are due, and put them off for an hour."""
    return store.owed(100, LONG)


def owed_for(store: Store) -> list[tuple[str | None, State, str | None]]:
    """Return of the debts that are due whose ending they are for; they are put off for an hour."""
    return [(debt.record.id, debt.record.state, debt.record.reason) for debt in due(store)]


def indebted(store: Store, claim: Claim, outcome: Outcome = SUCCESS) -> str:
    """Bring a run to an end that owes hooks; returns the debt's id."""
    token = run(store, owing(claim))
    assert store.end(id_of(claim), token, outcome, KEEP)
    return debt_id(id_of(claim), token)


class OweConformance(Case):
    """Which endings owe hooks."""

    @pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.INTERRUPTED])
    def test_an_end_owes_the_hooks_that_its_run_has_for_it(self, store: Store, state: State) -> None:
        know(store, "with", "without", "none")
        token = run(store, owing(fire(1, "with"), state))
        without = run(store, owing(fire(1, "without"), *(ENDINGS - {state})))
        none = run(store, fire(1, "none"))
        outcome = Outcome(state=state, reason="revoked")
        assert store.end("none-1", none, outcome, KEEP) is True
        assert store.end("without-1", without, outcome, KEEP) is True
        assert due(store) == []
        assert store.end("with-1", token, outcome, KEEP) is True
        assert due(store) == [Debt(id=debt_id("with-1", token), record=record(store, fire(1, "with")), sends=1)]

    def test_what_has_not_ended_owes_nothing(self, store: Store) -> None:
        know(store)
        claim = replace(fire(1), owes=frozenset(State))
        token = run(store, claim)
        store.park("job-1", token, store.now(), 1)
        start(store, replace(ticket(claim, "retry"), retries=1))
        assert due(store) == []

    def test_a_debt_holds_the_record_as_the_end_wrote_it(self, store: Store) -> None:
        know(store)
        complete(store, fire(1))
        claim = owing(fire(2))
        token = run(store, claim)
        store.park("job-2", token, store.now(), 1)
        token = start(store, replace(ticket(claim, "retry"), retries=1))
        outcome = Outcome(
            state=State.FAILED,
            reason="time_limit",
            started_at=minute(3),
            ended_at=minute(4),
            pid=42,
            exit_code=-9,
            error='CommandFailedError: "ß"\x00\n\\ line 2',
            output="tail \x00\t日本 /✓\n" * 40,
            hook_error="HookError: before",
        )
        assert store.end("job-2", token, outcome, KEEP)
        found = record(store, claim)
        assert due(store) == [Debt(id=debt_id("job-2", token), record=found, sends=1)]
        assert (found.attempt, found.token, found.previous_success) == (2, token, minute(1))
        assert (found.error, found.output, found.exit_code) == (outcome.error, outcome.output, -9)
        assert found.hook_error == "HookError: before"

    def test_what_is_reaped_owes(self, store: Store, clock: Advancing) -> None:
        names = ("lost", "queue", "late")
        know(store, *names)
        dispatch(store, owing(fire(1, "lost"), State.LOST))
        token = start(store, replace(ticket(fire(1, "lost")), lease=self.tick))
        dispatch(store, owing(replace(fire(1, "queue"), lock_ttl=self.tick), State.EXPIRED))
        dispatch(store, owing(replace(fire(1, "late"), deadline=store.now() + self.tick), State.EXPIRED))
        clock.advance(2 * self.tick)
        reaped = store.reap(10)
        debts = due(store)
        assert len(reaped) == 3
        assert {debt.record.id: debt.record for debt in debts} == {ended.id: ended for ended in reaped}
        assert {debt.id for debt in debts} == {debt_id("lost-1", token), debt_id("queue-1", 0), debt_id("late-1", 0)}
        assert store.reap(10) == []
        assert due(store) == []

    def test_a_run_that_expired_in_its_queue_and_ends_after_all_owes_for_both(
        self, store: Store, clock: Advancing
    ) -> None:
        know(store)
        dispatch(store, owing(replace(fire(1), lock_ttl=self.tick)))
        clock.advance(2 * self.tick)
        store.reap(10)
        token = start(store, ticket(fire(1)))
        clock.advance(self.tick)
        store.end("job-1", token, SUCCESS, KEEP)
        assert [debt.id for debt in due(store)] == [debt_id("job-1", 0), debt_id("job-1", token)]

    def test_a_run_that_gives_way_to_one_that_begins_owes(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, owing(replace(fire(1), lock_ttl=self.tick), State.SUCCEEDED))
        clock.advance(2 * self.tick)
        dispatch(store, owing(fire(2), State.SKIPPED))
        start(store, ticket(fire(1)))
        assert [debt.record for debt in due(store)] == [record(store, fire(2))]
        assert record(store, fire(2)).reason == "superseded"

    def test_a_run_that_may_not_begin_owes(self, store: Store, clock: Advancing) -> None:
        know(store)
        dispatch(store, owing(fire(1), State.LOST))
        start(store, replace(ticket(fire(1)), lease=self.tick))
        clock.advance(2 * self.tick)
        run(store, fire(2))
        again = replace(ticket(fire(1), "delivery-2"), redelivered=True)
        assert store.begin(again).admission is Admission.SUPERSEDED
        assert [debt.record for debt in due(store)] == [record(store, fire(1))]

    def test_a_run_that_the_store_has_lost_owes_what_its_message_says(self, store: Store) -> None:
        know(store, "job", "other")
        token = start(store, replace(ticket(pushed("push-1")), owes=frozenset({State.FAILED})))
        start(store, replace(ticket(pushed("push-2", "other")), owes=frozenset({State.SUCCEEDED})))
        store.end("push-1", token, Outcome(state=State.FAILED), KEEP)
        assert [debt.record for debt in due(store)] == [store.get("push-1")]

    def test_a_run_that_the_store_has_lost_and_that_may_not_begin_owes(self, store: Store) -> None:
        know(store)
        run(store, fire(1))
        asked = replace(ticket(pushed("push-1")), owes=frozenset({State.SKIPPED}))
        assert store.begin(asked).admission is Admission.SUPERSEDED
        assert [debt.record for debt in due(store)] == [store.get("push-1")]

    def test_a_run_that_is_missed_or_interrupted_before_it_began_owes(self, store: Store) -> None:
        know(store, "missed", "stopped")
        grant(store, owing(fire(1, "missed"), State.MISSED))
        dispatch(store, owing(fire(1, "stopped"), State.INTERRUPTED))
        store.end("missed-1", 0, Outcome(state=State.MISSED, reason="broker"), KEEP)
        assert owed_for(store) == [("missed-1", State.MISSED, "broker")]
        store.interrupt("stopped-1", 15, LONG)
        assert owed_for(store) == [("stopped-1", State.INTERRUPTED, "revoked")]

    @pytest.mark.parametrize("verdict", [Granted.OVERLAP, Granted.NO_WORKER])
    def test_a_fire_that_is_skipped_at_a_held_lock_owes(self, store: Store, verdict: Granted) -> None:
        know(store)
        dispatch(store, fire(1))
        if verdict is Granted.OVERLAP:
            start(store, ticket(fire(1)))
        assert grant(store, owing(fire(2), State.RUNNING, State.MISSED)) == [verdict]
        assert due(store) == []
        assert grant(store, owing(fire(3), State.SKIPPED)) == [verdict]
        [debt] = due(store)
        assert (debt.record.id, debt.record.state, debt.record.reason) == (None, State.SKIPPED, verdict.value)
        assert (debt.record.fire_time, debt.record.kind, debt.record.count) == (minute(3), Kind.SCHEDULED, 1)

    def test_each_lapse_of_a_claim_owes_for_its_own_state(self, store: Store) -> None:
        know(store, "job", "picky")
        missed = Lapse(state=State.MISSED, reason="catch_up", first=minute(1), last=minute(3), count=3)
        for name, states in (("job", ()), ("picky", (State.SKIPPED,))):
            lapses = (missed, skip(4, "paused", last=5, count=2))
            claim = replace(fire(6, name), mark=minute(0), run_id=None, lapses=lapses)
            assert grant(store, owing(claim, *states)) == [Granted.LAPSED]
        found = [debt.record for debt in due(store)]
        assert sorted(map(repr, found)) == sorted(map(repr, store.runs("job", 10) + store.runs("picky", 1)))

    def test_a_lapse_that_is_counted_to_another_owes_of_its_own(self, store: Store, clock: Advancing) -> None:
        know(store)
        for number in (1, 2):
            grant(store, owing(replace(fire(number), run_id=None, lapses=(skip(number, "paused"),))))
            clock.advance(self.tick)
        assert store.runs("job", 10)[0].count == 2
        assert [(debt.record.fire_time, debt.record.count) for debt in due(store)] == [(minute(1), 1), (minute(2), 1)]

    def test_a_claim_that_is_not_granted_owes_nothing(self, store: Store) -> None:
        know(store)
        lapsed = owing(replace(fire(2), run_id=None, lapses=(skip(2, "paused"),)))
        assert grant(store, lapsed) == [Granted.STALE]
        assert store.claim([owing(replace(fire(1), lapses=(skip(1, "paused"),)))], BEAT, 7, LONG)[0].granted is (
            Granted.DEPOSED
        )
        assert due(store) == []

    def test_a_repeated_claim_owes_once(self, store: Store) -> None:
        know(store)
        claim = owing(replace(fire(1), run_id=None, lapses=(skip(1, "paused"),)))
        assert grant(store, claim) == grant(store, claim) == [Granted.LAPSED]
        [debt] = due(store)
        store.hooked(debt.id, None)
        assert grant(store, claim) == [Granted.LAPSED]
        assert due(store) == []

    def test_a_repeated_end_owes_once(self, store: Store) -> None:
        know(store)
        debt = indebted(store, fire(1))
        assert [found.id for found in due(store)] == [debt]
        token = record(store, fire(1)).token
        assert store.end("job-1", token, SUCCESS, KEEP) is False
        assert due(store) == []
        store.hooked(debt, None)
        assert store.end("job-1", token, SUCCESS, KEEP) is False
        assert store.take(debt, "hand-1", LONG) is None
