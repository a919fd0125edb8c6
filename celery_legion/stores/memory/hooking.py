"""Debts of hooks in the memory store."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from celery_legion.run import Record
from celery_legion.stores.base import Debt
from celery_legion.stores.memory.ground import Ground, atomic
from celery_legion.stores.memory.rows import cut

LONGEST_PATIENCE = timedelta(hours=1)
LIMIT = 5
"""How many askers may take one debt."""


class Hooking(Ground):
    """The verbs of hooks."""

    @atomic
    def owed(self, limit: int, patience: timedelta) -> list[Debt]:
        """See :meth:`.SchedulerStore.owed`."""
        due = sorted((row.due, name) for name, row in self.debts.items() if row.due <= self.moment)
        found = []
        for _, name in due[: max(0, limit)]:
            row = self.debts[name]
            if self.moment - row.since > self.retention.age:
                del self.debts[name]
                continue
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
        if row.by != asker:
            if row.takes >= LIMIT:
                text = f"given up: {LIMIT} processes have died or were stuck while they ran the hooks"
                self.note_hook_error(row.record.id, text)
                del self.debts[debt]
                return None
            row.takes += 1
        row.by, row.till = asker, cut(self.moment + lease)
        row.due = row.till
        return Debt(id=debt, record=self._with_added(row.record), sends=row.sends)

    def _with_added(self, record: Record) -> Record:
        run = None if record.id is None else self.all_runs.get(record.id)
        if run is None:
            return record
        exit_code = run.exit_code if record.exit_code is None else record.exit_code
        return replace(record, exit_code=exit_code, output=run.output or record.output)

    @atomic
    def hooked(self, debt: str, error: str | None) -> bool:
        """See :meth:`.HookStore.hooked`."""
        row = self.debts.pop(debt, None)
        if row is None:
            return False
        if error:
            self.note_hook_error(row.record.id, error)
        return True
