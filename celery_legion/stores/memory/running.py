"""What a worker asks of the memory store for each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from celery_legion.clock import to_ms
from celery_legion.run import Kind, Reason, Record, State
from celery_legion.stores.base import Admission, Answer, Interruption, Kept, Outcome, Renewal, Retention, Ticket
from celery_legion.stores.memory.ground import NOTHING, Ground, atomic
from celery_legion.stores.memory.marks import Mark
from celery_legion.stores.memory.rows import Run, cut, cut_or_none

SHORTEST_WAIT = timedelta(milliseconds=100)
LONGEST_WAIT = timedelta(seconds=1)


class Running(Ground):
    """The worker's verbs."""

    @atomic
    def begin(self, ticket: Ticket) -> Answer:
        """See :meth:`.RunStore.begin`."""
        run = self.all_runs.get(ticket.id)
        if run is None:
            refusal = self._refuse_unknown(ticket)
            if refusal is not None:
                return Answer(admission=refusal)
            run = self._write_anew(ticket)
        if run.job != ticket.job:
            return Answer(admission=Admission.REFUSED)
        alive = run.lease > self.moment
        if run.state is State.RUNNING and alive:
            return self._second(run, ticket)
        if run.over or ((run.state is State.RETRYING or run.given_up) and ticket.retries < run.retries):
            return Answer(admission=Admission.DUPLICATE)
        if run.state is State.RETRYING and ticket.retries > run.retries and alive:
            return self._wait(run)
        if run.stop is not None:
            self.finish(run, State.INTERRUPTED, Reason.TERMINATED, self.retention.dedup)
            return Answer(admission=Admission.DUPLICATE)
        if not self.admit(run):
            if not run.given_up:
                self.finish(run, State.LOST if run.begun else State.SKIPPED, Reason.SUPERSEDED, self.retention.dedup)
            return Answer(admission=Admission.SUPERSEDED)
        self._start(run, ticket)
        return self._go(run)

    def _refuse_unknown(self, ticket: Ticket) -> Admission | None:
        if self.is_done(ticket.id):
            return Admission.DUPLICATE
        if ticket.known:
            return Admission.REFUSED
        if ticket.kind is Kind.SCHEDULED and not self._is_above_mark(ticket):
            forgotten = self.forgotten.get(ticket.job)
            if forgotten is None or cut(ticket.fire_time) > forgotten:
                return Admission.SUPERSEDED
        return None

    def _is_above_mark(self, ticket: Ticket) -> bool:
        mark = self.marks.get(ticket.job)
        return mark is None or cut(ticket.fire_time) > mark.fire_time

    def _write_anew(self, ticket: Ticket) -> Run:
        run = Run(
            id=ticket.id,
            job=ticket.job,
            kind=ticket.kind,
            fire_time=cut(ticket.fire_time),
            lock=ticket.lock,
            limit=ticket.limit,
            lock_ttl=ticket.lock_ttl,
            claimed_at=self.moment,
            written=self.written(),
            state=State.SENT,
            owes=ticket.owes,
        )
        self.write_run(run)
        if run.kind is Kind.SCHEDULED and self._is_above_mark(ticket):
            self.marks[run.job] = Mark(fire_time=run.fire_time)
            # What was sent before it may be as unknown, and still come.
            self.forgotten[run.job] = run.fire_time
        return run

    def _second(self, run: Run, ticket: Ticket) -> Answer:
        if ticket.retries == run.retries:
            if ticket.asker == run.asker:
                self._lease(run, ticket.lease)
                return self._go(run)
            if run.accepted and not run.late:
                return Answer(admission=Admission.DUPLICATE)
        return self._wait(run)

    def _wait(self, run: Run) -> Answer:
        left = run.lease - self.moment
        return Answer(admission=Admission.WAIT, wait=max(SHORTEST_WAIT, min(LONGEST_WAIT, left)))

    def _go(self, run: Run) -> Answer:
        return Answer(
            admission=Admission.GO,
            token=run.token,
            attempt=run.attempt,
            previous_success=self.successes.get(run.job),
        )

    def _start(self, run: Run, ticket: Ticket) -> None:
        # Not below the clock: a store that has lost its counter must not issue numbers that a resource has seen.
        self.token = max(self.token + 1, to_ms(self.moment))
        for index in (self.unconfirmed, self.queued, self.expected, self.missing, self.ended):
            index.pop(run.id, None)
        if not run.begun and not run.given_up and run.queue and not run.jumps:
            # A queue is first in, first out: what was sent before this run was claimed has left it.
            self.note_gone(run.queue, run.claimed_at, jumping=False)
        if run.state is State.SKIPPED:
            # Why nothing was sent is true no more.
            run.error = None
        run.state, run.reason, run.ended_at, run.again = State.RUNNING, None, None, None
        run.term, run.retry_at = ticket.lease, None
        run.token, run.attempt = self.token, run.attempt + 1
        run.started_at = run.started_at or self.moment
        run.worker, run.retries, run.asker = ticket.worker, ticket.retries, ticket.asker
        run.late, run.visibility, run.accepted = ticket.late, ticket.visibility, False
        run.left, run.freed, run.refused, run.previous = False, False, None, self.successes.get(run.job)
        run.pid = run.exit_code = None
        self.drop_output(run.id)
        run.lease = self.moment
        self._lease(run, ticket.lease)

    def _lease(self, run: Run, span: timedelta) -> None:
        # Never shorter: a parked retry's lease is longer than a renewal's.
        run.lease = max(run.lease, cut(self.moment + span))
        if run.limit and not run.freed:
            self.hold(run.lock, run.id, run.lease)
        self.expire_at(run)

    @atomic
    def renew(self, worker: str, renewals: Sequence[Renewal], lease: timedelta) -> dict[str, Kept]:
        """See :meth:`.RunStore.renew`."""
        return {renewal.id: self._renew(renewal, lease) for renewal in renewals}

    def _renew(self, renewal: Renewal, lease: timedelta) -> Kept:
        run = self.all_runs.get(renewal.id)
        if run is None:
            return Kept.LOST
        if run.waiting and renewal.token == 0 and renewal.accepted:
            # Its message has come to a worker, and is acknowledged: nobody shall wait for it in the queue.
            self.expected.pop(run.id, None)
            self.missing.pop(run.id, None)
            return Kept.OK
        if run.waiting and renewal.token == 0:
            if run.id in self.holders(run.lock):
                self.hold(run.lock, run.id, cut(self.ready(run) + run.lock_ttl))
            if run.state is State.SENT:
                self.queue_until(run)
                self.expect(run)
            return Kept.OK
        retry = run.state is State.RETRYING and renewal.token == 0
        if not retry and not (run.begun and run.token == renewal.token):
            return Kept.LOST
        if not run.freed and not self.admit(run):
            return Kept.LOST
        if run.state is State.RUNNING:
            run.accepted = run.accepted or renewal.accepted
        run.pid = run.pid if renewal.pid is None else renewal.pid
        self._lease(run, lease)
        return Kept.INTERRUPT if run.stop is not None and run.state is State.RUNNING else Kept.OK

    @atomic
    def park(self, run_id: str, token: int, until: datetime, retries: int) -> bool:
        """See :meth:`.RunStore.park`."""
        run = self.all_runs.get(run_id)
        if run is None or not run.begun or run.token != token:
            return False
        if run.state is State.RETRYING:
            return run.retries == retries
        if run.stop is not None:
            self.finish(run, State.INTERRUPTED, Reason.TERMINATED, self.retention.dedup)
            return True
        # The retry's message is another one.
        run.state, run.retries, run.accepted, run.message = State.RETRYING, retries, False, ""
        run.lease, run.retry_at = cut(until + run.term), cut(until)
        if run.limit and not run.freed:
            self.hold(run.lock, run.id, run.lease)
        self.expire_at(run)
        return True

    @atomic
    def hand_back(self, worker: str, pid: int | None = None, begun: Mapping[str, int] | None = None) -> list[str]:
        """See :meth:`.RunStore.hand_back`."""
        ids = []
        for run in [self.all_runs[run_id] for run_id in self.live]:
            if run.worker != worker or run.state is not State.RUNNING or (run.accepted and not run.late):
                continue
            if begun is not None and begun.get(run.id) != run.token:
                continue
            run.lease, run.accepted, run.asker = self.moment, False, None
            if run.late:
                # It waits in its queue now, as one that has not begun.
                self.live[run.id] = self.moment + max(run.visibility, run.lock_ttl)
            else:
                run.state, run.token, run.attempt = State.SENT, 0, run.attempt - 1
                del self.live[run.id]
                self.queue_until(run)
                if not run.retries:
                    # The message of a retry is not kept.
                    self.expect(run)
                if run.id in self.holders(run.lock):
                    self.hold(run.lock, run.id, cut(self.moment + run.lock_ttl))
            ids.append(run.id)
        known = self.workers_seen.get(worker)
        if known is not None and pid in (None, known.info.pid):
            del self.workers_seen[worker]
        return ids

    @atomic
    def end(self, run_id: str, token: int, outcome: Outcome, retention: Retention) -> bool:
        """See :meth:`.RunStore.end`."""
        run = self.all_runs.get(run_id)
        if run is None or run.closed or token != (run.token if run.begun else 0):
            return False
        run.started_at = cut_or_none(outcome.started_at) or run.started_at
        run.ended_at = cut_or_none(outcome.ended_at)
        run.pid = run.pid if outcome.pid is None else outcome.pid
        run.exit_code = run.exit_code if outcome.exit_code is None else outcome.exit_code
        run.error, run.hook_error = outcome.error or run.error, outcome.hook_error or run.hook_error
        if outcome.output:
            run.output, run.partial = outcome.output, False
        if outcome.state is State.SENT:
            run.sent_at = run.sent_at or self.moment
        dying = max(NOTHING, outcome.dying)
        self.finish(
            run,
            outcome.state,
            outcome.reason or None,
            retention.dedup,
            dying,
            hooks_by=outcome.hooks_by,
            hooks_lease=outcome.hooks_lease,
        )
        if outcome.output:
            self.keep_output(run, retention)
        if outcome.state is State.SUCCEEDED:
            self.successes[run.job] = max(run.fire_time, self.successes.get(run.job, run.fire_time))
        return True

    @atomic
    def progress(self, run_id: str, token: int, output: str) -> bool:
        """See :meth:`.RunStore.progress`."""
        run = self.all_runs.get(run_id)
        if run is None or run.state is not State.RUNNING or run.left or run.token != token or not output:
            return False
        run.output = output
        self.keep_output(run, self.retention, failed=False)
        run.partial = run.output is not None
        return True

    @atomic
    def leave(self, run_id: str, token: int, exit_code: int | None, output: str | None) -> bool:
        """See :meth:`.RunStore.leave`."""
        run = self.all_runs.get(run_id)
        if run is None or run.token != token:
            return False
        run.left = True
        run.exit_code = exit_code if run.exit_code is None else run.exit_code
        if output and (run.output is None or run.partial):
            run.output = output
            self.keep_output(run, self.retention, failed=run.closed and run.state is not State.SUCCEEDED)
        if run.closed:
            self.let_go(run.lock, run.id)
        return True

    @atomic
    def interrupt(self, run_id: str, signal: int, grace: timedelta) -> Record | None:
        """See :meth:`.RunStore.interrupt`."""
        run = self.all_runs.get(run_id)
        if run is None:
            return None
        if run.state is State.RUNNING:
            run.stop, run.refused = Interruption(signal=signal, grace=grace), None
            self.hurry(run.worker or "")
        elif not run.closed:
            self.finish(run, State.INTERRUPTED, Reason.REVOKED, self.retention.dedup)
        return run.record()

    @atomic
    def interruption(self, run_id: str) -> Interruption | None:
        """See :meth:`.RunStore.interruption`."""
        run = self.all_runs.get(run_id)
        if run is None:
            return None
        if run.refused is not None:
            return Interruption(signal=0, grace=NOTHING, refused=run.refused)
        return run.stop

    @atomic
    def refuse(self, run_id: str, token: int, why: str) -> bool:
        """See :meth:`.RunStore.refuse`."""
        run = self.all_runs.get(run_id)
        if run is None or run.token != token:
            return False
        if run.stop is None:
            return run.refused == why
        run.stop, run.refused = None, why
        return True

    @atomic
    def get(self, run_id: str) -> Record | None:
        """See :meth:`.RunStore.get`."""
        run = self.all_runs.get(run_id)
        return None if run is None else run.record()
