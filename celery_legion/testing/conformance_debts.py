"""Store conformance: how a debt of hooks is sent, taken and paid."""

from __future__ import annotations

from dataclasses import replace

from celery_legion.stores.base import Debt, Retention, Store
from celery_legion.testing.conformance_case import (
    KEEP,
    LONG,
    OTHER,
    SUCCESS,
    Advancing,
    Case,
    Keeping,
    fire,
    grant,
    know,
    lead,
    record,
    run,
    skip,
)
from celery_legion.testing.conformance_hooks import due, indebted, owing


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

    def test_what_was_added_to_the_run_since_its_end_is_in_the_debt(self, store: Store) -> None:
        know(store)
        token = run(store, owing(fire(1)))
        assert store.end("job-1", token, SUCCESS, KEEP)
        assert store.leave("job-1", token, -15, "the tail")
        debt = store.take(f"job-1:{token}", "hand-1", LONG)
        assert debt is not None
        assert (debt.record.exit_code, debt.record.output) == (-15, "the tail")

    def test_a_debt_that_five_have_taken_and_none_has_paid_is_dropped_with_a_note(
        self, store: Store, clock: Advancing
    ) -> None:
        know(store)
        debt = indebted(store, fire(1), replace(SUCCESS, hooks_by="child-1", hooks_lease=self.tick))
        for number in range(2, 6):
            clock.advance(2 * self.tick)
            assert store.take(debt, f"hand-{number}", self.tick) is not None
            assert store.take(debt, f"hand-{number}", self.tick) is not None
        clock.advance(2 * self.tick)
        assert store.take(debt, "hand-6", LONG) is None
        assert "given up: 5 processes" in (record(store, fire(1)).hook_error or "")
        assert store.hooked(debt, None) is False
        assert due(store) == []

    def test_a_debt_older_than_the_ledgers_age_is_dropped(self, keeping: Keeping, clock: Advancing) -> None:
        store = keeping(Retention(age=4 * self.tick))
        know(store)
        debt = indebted(store, fire(1))
        assert [found.id for found in store.owed(10, self.tick)] == [debt]
        clock.advance(6 * self.tick)
        assert store.owed(10, self.tick) == []
        assert store.take(debt, "hand-1", LONG) is None
        assert lead(store).owed is False

    def test_what_failed_before_the_end_and_after_it_is_noted_together(self, store: Store) -> None:
        know(store)
        debt = indebted(store, fire(1), replace(SUCCESS, hook_error="before: no"))
        assert store.hooked(debt, "after: no")
        assert record(store, fire(1)).hook_error == "before: no; after: no"
