"""Store conformance: which endings owe hooks, and how such a debt is sent, taken and paid."""

from __future__ import annotations

from dataclasses import replace

import pytest

from celery_legion.run import Kind, State
from celery_legion.stores.base import Admission, Claim, Debt, Granted, Lapse, Outcome, Retention, Store, debt_id
from celery_legion.testing.conformance_case import (
    BEAT,
    KEEP,
    LONG,
    OTHER,
    SUCCESS,
    Advancing,
    Case,
    Keeping,
    complete,
    dispatch,
    fire,
    grant,
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


class DebtConformance(Case):
    """``owed``, ``take`` and ``hooked``."""

    def test_a_debt_that_nobody_keeps_is_due_at_once(self, store: Store) -> None:
        know(store)
        debt = indebted(store, fire(1), replace(SUCCESS, hooks_by=None, hooks_lease=LONG))
        assert [found.id for found in due(store)] == [debt]

    def test_a_debt_is_kept_for_who_runs_the_hooks_itself_until_its_lease_is_over(
        self, store: Store, clock: Advancing
    ) -> None:
        know(store)
        debt = indebted(store, fire(1), replace(SUCCESS, hooks_by="child-1", hooks_lease=4 * self.tick))
        assert due(store) == []
        assert store.take(debt, "hand-1", LONG) is None
        clock.advance(5 * self.tick)
        assert [found.id for found in store.owed(10, self.tick)] == [debt]
        taken = store.take(debt, "hand-1", LONG)
        assert taken == Debt(id=debt, record=record(store, fire(1)), sends=1)

    def test_who_runs_the_hooks_itself_pays_without_taking(self, store: Store) -> None:
        know(store, "a", "b")
        kept = replace(SUCCESS, hooks_by="child-1", hooks_lease=LONG)
        debts = [indebted(store, fire(1, name), kept) for name in ("a", "b")]
        assert store.hooked(debts[0], None) is True
        assert store.take(debts[1], "child-1", LONG) == Debt(id=debts[1], record=record(store, fire(1, "b")))

    def test_the_longest_due_come_first_and_at_most_limit(self, store: Store, clock: Advancing) -> None:
        names = ("c", "b", "a")
        know(store, *names)
        debts = []
        for name in names:
            debts.append(indebted(store, fire(1, name)))
            clock.advance(self.tick)
        assert store.owed(0, LONG) == []
        assert [found.id for found in store.owed(2, LONG)] == debts[:2]
        assert [found.id for found in store.owed(2, LONG)] == debts[2:]

    def test_a_debt_that_was_given_out_is_due_again_after_its_patience_doubled_each_time(
        self, store: Store, clock: Advancing
    ) -> None:
        know(store)
        indebted(store, fire(1))
        seen = []
        for span in (0, 2, 3, 6, 3):
            clock.advance(span * self.tick)
            seen.append([debt.sends for debt in store.owed(10, 4 * self.tick)])
        assert seen == [[1], [], [2], [], [3]]

    def test_a_debt_that_was_taken_is_not_due_until_its_lease_is_over(self, store: Store, clock: Advancing) -> None:
        know(store, "long", "short")
        longer, shorter = (indebted(store, fire(1, name)) for name in ("long", "short"))
        assert len(store.owed(10, self.tick)) == 2
        assert store.take(longer, "hand-1", LONG) is not None
        assert store.take(shorter, "hand-1", self.tick) is not None
        clock.advance(2 * self.tick)
        assert [(found.id, found.sends) for found in store.owed(10, self.tick)] == [(shorter, 2)]

    def test_a_debt_is_anothers_only_after_its_lease(self, store: Store, clock: Advancing) -> None:
        know(store)
        debt = indebted(store, fire(1))
        expected = Debt(id=debt, record=record(store, fire(1)), sends=0)
        assert store.take(debt, "hand-1", 4 * self.tick) == expected
        assert store.take(debt, "hand-2", LONG) is None
        clock.advance(5 * self.tick)
        assert store.take(debt, "hand-2", LONG) == expected
        assert store.take(debt, "hand-1", LONG) is None

    def test_the_same_asker_has_its_lease_extended(self, store: Store, clock: Advancing) -> None:
        know(store)
        debt = indebted(store, fire(1))
        assert store.take(debt, "hand-1", self.tick) == store.take(debt, "hand-1", LONG) is not None
        clock.advance(2 * self.tick)
        assert store.take(debt, "hand-2", LONG) is None
        assert due(store) == []

    def test_a_debt_that_nobody_knows_cannot_be_taken_or_paid(self, store: Store) -> None:
        know(store)
        indebted(store, fire(1))
        assert store.take("nobody:1", "hand-1", LONG) is None
        assert store.hooked("nobody:1", "an error") is False
        assert len(due(store)) == 1

    def test_a_debt_is_paid_once(self, store: Store) -> None:
        know(store)
        debt = indebted(store, fire(1))
        before = record(store, fire(1))
        assert store.hooked(debt, None) is True
        assert (store.hooked(debt, None), store.hooked(debt, "late")) == (False, False)
        assert store.take(debt, "hand-1", LONG) is None
        assert due(store) == []
        assert record(store, fire(1)) == before

    def test_how_a_hook_failed_is_written_to_the_record(self, store: Store) -> None:
        know(store)
        debt = indebted(store, fire(1))
        before = record(store, fire(1))
        assert store.hooked(debt, 'HookError: "ß"\x00\nline 2') is True
        assert record(store, fire(1)) == replace(before, hook_error='HookError: "ß"\x00\nline 2')

    def test_a_debt_outlives_its_runs_record(self, keeping: Keeping) -> None:
        store = keeping(Retention(total=0))
        know(store)
        debt = indebted(store, fire(1), replace(SUCCESS, output="tail"))
        before = record(store, fire(1))
        store.reap(10)
        assert store.get("job-1") is None
        assert store.take(debt, "hand-1", LONG) == Debt(id=debt, record=before)
        assert store.hooked(debt, "an error") is True
        assert store.get("job-1") is None
        assert store.hooked(debt, "an error") is False

    def test_a_debt_for_a_lapse_is_taken_and_paid_alike(self, store: Store) -> None:
        know(store)
        grant(store, owing(replace(fire(1), run_id=None, lapses=(skip(1, "paused"),))))
        [debt] = due(store)
        assert store.take(debt.id, "hand-1", LONG) == debt
        assert store.take(debt.id, "hand-2", LONG) is None
        assert (store.hooked(debt.id, "an error"), store.hooked(debt.id, None)) == (True, False)
        assert [found.reason for found in store.runs("job", 10)] == ["paused"]

    def test_a_pulse_says_whether_hooks_are_due(self, store: Store, clock: Advancing) -> None:
        def told() -> tuple[bool, bool]:
            return lead(store).owed, lead(store, OTHER).owed

        know(store)
        assert told() == (False, False)
        debt = indebted(store, fire(1), replace(SUCCESS, hooks_by="child-1", hooks_lease=4 * self.tick))
        assert told() == (False, False)
        clock.advance(5 * self.tick)
        assert told() == (True, True)
        store.owed(10, 4 * self.tick)
        assert told() == (False, False)
        clock.advance(5 * self.tick)
        assert told() == (True, True)
        store.take(debt, "hand-1", LONG)
        assert told() == (False, False)

    def test_a_paid_debt_is_not_due(self, store: Store) -> None:
        know(store)
        debt = indebted(store, fire(1))
        assert lead(store).owed is True
        store.hooked(debt, None)
        assert lead(store).owed is False
