"""Debts of hooks in the memory store."""

from __future__ import annotations

from datetime import timedelta

from celery_legion.stores.base import Debt
from celery_legion.stores.memory.ground import Ground, atomic
from celery_legion.stores.memory.rows import cut

LONGEST_PATIENCE = timedelta(hours=1)


class Hooking(Ground):
    """The verbs of hooks."""

    @atomic
    def owed(self, limit: int, patience: timedelta) -> list[Debt]:
        """See :meth:`.SchedulerStore.owed`."""
        due = sorted((row.due, name) for name, row in self.debts.items() if row.due <= self.moment)
        found = []
        for _, name in due[: max(0, limit)]:
            row = self.debts[name]
            row.sends += 1
            row.due = cut(self.moment + min(LONGEST_PATIENCE, patience * 2 ** min(row.sends - 1, 30)))
            found.append(Debt(id=name, record=row.record, sends=row.sends))
        return found

    @atomic
    def take(self, debt: str, asker: str, lease: timedelta) -> Debt | None:
        """See :meth:`.HookStore.take`."""
        row = self.debts.get(debt)
        if row is None or (row.by not in (None, asker) and row.till > self.moment):
            return None
        row.by, row.till = asker, cut(self.moment + lease)
        row.due = row.till
        return Debt(id=debt, record=row.record, sends=row.sends)

    @atomic
    def hooked(self, debt: str, error: str | None) -> bool:
        """See :meth:`.HookStore.hooked`."""
        row = self.debts.pop(debt, None)
        if row is None:
            return False
        run = None if row.record.id is None else self.all_runs.get(row.record.id)
        if run is not None and error:
            run.hook_error = f"{run.hook_error}; {error}" if run.hook_error else error
        return True
