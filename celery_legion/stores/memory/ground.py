"""What the memory store's verbs share: its data, its lock, its clock, and the acts of several verbs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from itertools import count
from threading import Condition, RLock
from typing import Concatenate, ParamSpec, TypeVar

from celery_legion.clock import EPOCH, to_ms
from celery_legion.run import Kind, Reason, Record, State
from celery_legion.stores.base import Aside, Granted, Lapse, Pause, Request, Retention, debt_id
from celery_legion.stores.data import ASIDE_LIMIT
from celery_legion.stores.memory.marks import Mark, Seen
from celery_legion.stores.memory.rows import DebtRow, LapseRow, LeadRow, Run, SchedulerLease, WorkerLease, cut

P = ParamSpec("P")
R = TypeVar("R")
G = TypeVar("G", bound="Ground")

NOTHING = timedelta(0)


def atomic(verb: Callable[Concatenate[G, P], R]) -> Callable[Concatenate[G, P], R]:
    """Make *verb* one act at one moment."""

    @wraps(verb)
    def act(self: G, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.guard:
            self.moment = self.now()
            return verb(self, *args, **kwargs)

    return act


class Ground:
    """The data. ``moment`` is the store's time for the verb that holds ``guard``."""

    def __init__(self, *, retention: Retention, now: Callable[[], datetime]) -> None:
        self.retention = retention
        self.guard = RLock()
        self.moment = EPOCH
        self._clock = now
        self.leader: LeadRow | None = None
        self.epoch = 0
        self.token = 0
        self.version = 0
        self.schedulers_seen: dict[str, SchedulerLease] = {}
        self.workers_seen: dict[str, WorkerLease] = {}
        self.queues_seen: set[str] = set()
        self.marks: dict[str, Mark] = {}
        self.seen: dict[str, Seen] = {}
        self.forgotten: dict[str, datetime] = {}
        self.successes: dict[str, datetime] = {}
        self.records: dict[str, deque[Run | LapseRow]] = {}
        self.all_runs: dict[str, Run] = {}
        self.unconfirmed: dict[str, Run] = {}
        self.queued: dict[str, datetime] = {}
        self.expected: dict[str, datetime] = {}
        self.missing: dict[str, datetime] = {}
        self.live: dict[str, datetime] = {}
        self.ended: dict[str, datetime] = {}
        self.done: dict[str, datetime] = {}
        self.refused: dict[str, tuple[str, Granted, str | None]] = {}
        self.held: dict[str, dict[str, datetime]] = {}
        self.debts: dict[str, DebtRow] = {}
        self.outputs: dict[str, int] = {}
        self.failures: dict[str, str] = {}
        self.inbox: dict[str, Request] = {}
        self.aside: deque[Aside] = deque(maxlen=ASIDE_LIMIT)
        self.jobs: dict[str, str] = {}
        self.paused: dict[str, Pause] = {}
        self.changed: dict[str, int] = {}
        self._order = count()
        self.nudged = Condition()
        self.nudges = 0
        self.hurries: dict[str | None, int] = {}

    def now(self) -> datetime:
        """See :meth:`.Store.now`."""
        return cut(self._clock())

    def written(self) -> tuple[datetime, int]:
        """Return what orders a record written now among all."""
        return self.moment, next(self._order)

    def nudge(self) -> None:
        """Wake whoever waits."""
        with self.nudged:
            self.nudges += 1
            self.nudged.notify_all()

    def hurry(self, worker: str | None = None) -> None:
        """See :meth:`.WakingStore.hurry`."""
        with self.nudged:
            self.hurries[worker] = self.hurries.get(worker, 0) + 1
            self.nudged.notify_all()

    def bump(self, name: str) -> int:
        """Count the schedule's version up for a change of *name*, and wake the schedulers."""
        self.version += 1
        self.changed.pop(name, None)
        self.changed[name] = self.version
        self.nudge()
        return self.version

    def holders(self, name: str) -> dict[str, datetime]:
        """Return the runs that hold a lock now with their leases, in the order in which they took it."""
        held = self.held.get(name, {})
        for run_id in [run_id for run_id, till in held.items() if till <= self.moment]:
            del held[run_id]
        if not held:
            self.held.pop(name, None)
        return held

    def hold(self, name: str, run_id: str, till: datetime) -> None:
        """Let a run hold a lock until *till*."""
        self.held.setdefault(name, {})[run_id] = till

    def let_go(self, name: str, run_id: str) -> None:
        """Let a run hold a lock no more."""
        held = self.held.get(name, {})
        held.pop(run_id, None)
        if not held:
            self.held.pop(name, None)

    def is_done(self, run_id: str) -> bool:
        """Whether the done memory knows an id."""
        till = self.done.get(run_id)
        if till is not None and till <= self.moment:
            del self.done[run_id]
            self.refused.pop(run_id, None)
            return False
        return till is not None

    def write_run(self, run: Run) -> None:
        """Put a new run at the head of its job's ledger."""
        self.all_runs[run.id] = run
        self.records.setdefault(run.job, deque()).appendleft(run)

    def write_lapse(
        self, job: str, kind: Kind, lapse: Lapse, owner: str, owes: frozenset[State], run_id: str | None = None
    ) -> None:
        """Write fires that become no run; consecutive ones of one kind, state and reason are one record.

        Each writing owes hooks of its own.
        """
        ledger = self.records.setdefault(job, deque())
        first, last = cut(lapse.first), cut(lapse.last)
        new = LapseRow(
            job=job,
            kind=kind,
            state=lapse.state,
            reason=lapse.reason,
            first=first,
            last=last,
            count=lapse.count,
            since=self.moment,
            scheduler=owner,
            written=self.written(),
        )
        if lapse.state in owes:
            what = run_id or f"{job}:{to_ms(first)}"
            self.owe(f"lapse:{what}:{lapse.state.value}:{lapse.reason}", new.record())
        head = ledger[0] if ledger else None
        same = (kind, lapse.state, lapse.reason)
        if isinstance(head, LapseRow) and (head.kind, head.state, head.reason) == same:
            head.count += lapse.count
            head.last = max(head.last, last)
            head.written = new.written
            return
        ledger.appendleft(new)

    def owe(self, name: str, record: Record, by: str | None = None, lease: timedelta = NOTHING) -> None:
        """Owe hooks for an ending: due at once, or when *by*, who runs them itself, has had its lease."""
        due = cut(self.moment + lease) if by is not None else self.moment
        self.debts[name] = DebtRow(
            record=record, due=due, by=by, till=due, since=self.moment, takes=0 if by is None else 1
        )
        if due == self.moment:
            self.nudge()

    def keep_output(self, run: Run, retention: Retention, failed: bool | None = None) -> None:
        """Keep what a run wrote, and of its job's others the newest and the last failure's, as long as all fit in."""
        self.outputs.pop(run.id, None)
        self.outputs[run.id] = len((run.output or "").encode("utf-8", "replace"))
        run.partial = False
        if run.state is not State.SUCCEEDED if failed is None else failed:
            self.failures[run.job] = run.id
        ids = [run_id for run_id in reversed(self.outputs) if self.all_runs[run_id].job == run.job]
        for run_id in ids[retention.outputs :]:
            if run_id != self.failures.get(run.job):
                self.drop_output(run_id)
        while self.outputs and sum(self.outputs.values()) > retention.output_total:
            self.drop_output(next(iter(self.outputs)))

    def drop_output(self, run_id: str) -> None:
        """Forget what a run wrote."""
        if self.outputs.pop(run_id, None) is not None:
            run = self.all_runs[run_id]
            run.output, run.partial = None, False
            if self.failures.get(run.job) == run_id:
                del self.failures[run.job]

    def note_hook_error(self, run_id: str | None, text: str) -> None:
        """Add to how a run's hooks failed, if the run is still known."""
        run = None if run_id is None else self.all_runs.get(run_id)
        if run is not None:
            run.hook_error = f"{run.hook_error}; {text}" if run.hook_error else text

    def trim(self, job: str) -> None:
        """Keep a job's ledger to its size, from the tail, as long as the tail is over."""
        ledger = self.records.get(job, deque())
        while len(ledger) > self.retention.size:
            tail = ledger[-1]
            if isinstance(tail, Run):
                if not tail.closed:
                    return
                self.forget(tail)
            ledger.pop()

    def forget(self, run: Run) -> None:
        """Drop an ended run; the done memory is another matter."""
        self.drop_output(run.id)
        self.all_runs.pop(run.id, None)
        self.ended.pop(run.id, None)

    def expire_at(self, run: Run) -> None:
        """Note when a begun run is lost: at its lease's end, and a late one after the grace for its redelivery.

        One that waits for its retry needs no grace: it may begin even after it was given up.
        """
        self.live[run.id] = run.lease + (run.visibility if run.late and run.state is State.RUNNING else NOTHING)

    def ready(self, run: Run) -> datetime:
        """Return from when on a run's message can begin: now, or when its countdown is over."""
        return self.moment if run.eta is None else max(self.moment, run.eta)

    def queue_until(self, run: Run) -> None:
        """Note when a sent run expires: when its queue time is over, or its deadline passes before."""
        till = self.ready(run) + run.lock_ttl
        self.queued[run.id] = till if run.deadline is None else min(till, run.deadline)

    def expect(self, run: Run) -> None:
        """Expect a sent run's message: it is on its way, or a worker has just shown that it holds it.

        Until its countdown is over a broker may keep it where no worker sees it.
        """
        if run.queue:
            self.missing.pop(run.id, None)
            self.expected[run.id] = self.ready(run)

    def note_gone(self, queue: str, before: datetime, *, jumping: bool) -> None:
        """Note that what was sent to a queue before a moment has left it: who among it shows up nowhere is missing.

        Runs whose messages jump the queue are among it only if *jumping*.
        """
        for run_id in [run_id for run_id, shown in self.expected.items() if shown < before]:
            run = self.all_runs[run_id]
            if run.queue == queue and (jumping or not run.jumps):
                del self.expected[run_id]
                self.missing[run_id] = self.moment + run.spare

    def finish(
        self,
        run: Run,
        state: State,
        reason: str | None,
        dedup: timedelta,
        dying: timedelta = NOTHING,
        hooks_by: str | None = None,
        hooks_lease: timedelta = NOTHING,
    ) -> None:
        """Bring a run to its end: every index forgets it, and its lock is let go or kept while it is *dying*.

        Its hooks are owed: to *hooks_by* for *hooks_lease*, who runs them itself, or to anyone.
        """
        run.state, run.reason, run.message, run.stop = state, reason, "", None
        run.spare, run.again = NOTHING, None
        if run.id in self.outputs and state is not State.SUCCEEDED:
            self.failures[run.job] = run.id
        run.ended_at = run.ended_at or self.moment
        for index in (self.unconfirmed, self.queued, self.expected, self.missing, self.live):
            index.pop(run.id, None)
        self.ended.pop(run.id, None)
        self.ended[run.id] = self.moment
        if dedup > NOTHING:
            self.done[run.id] = self.moment + dedup
        if state in run.owes:
            self.owe(debt_id(run.id, run.token), run.record(), hooks_by, hooks_lease)
        if run.left:
            dying = NOTHING
        if run.id in self.holders(run.lock):
            if dying > NOTHING:
                self.hold(run.lock, run.id, self.moment + dying)
            else:
                self.let_go(run.lock, run.id)

    def admit(self, run: Run) -> bool:
        """Whether a run may hold its lock as a begun one: it does, it is free, or one that has not begun gives way."""
        held = self.holders(run.lock)
        if run.limit == 0 or run.id in held or len(held) < run.limit:
            return True
        for run_id in held:
            other = self.all_runs.get(run_id)
            if other is None or other.waiting:
                if other is None:
                    self.let_go(run.lock, run_id)
                else:
                    self.finish(other, State.SKIPPED, Reason.SUPERSEDED, self.retention.dedup)
                return True
        return False
