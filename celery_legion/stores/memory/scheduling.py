"""What a scheduler asks of the memory store each pass."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice

from celery_legion.run import Reason, Record, State
from celery_legion.stores.base import (
    CLAIM_LIMIT,
    Claim,
    Granted,
    Lapse,
    Pulse,
    SchedulerInfo,
    Sight,
    Unsent,
    Verdict,
)
from celery_legion.stores.memory.ground import NOTHING, Ground, atomic
from celery_legion.stores.memory.marks import Mark, Seen
from celery_legion.stores.memory.rows import LeadRow, Run, SchedulerLease, cut, cut_or_none

REFUSED = timedelta(days=1)
"""How long a push that came to nothing is known: the least of the done memory."""


class Scheduling(Ground):
    """The scheduler's verbs."""

    def _lead(self) -> LeadRow | None:
        if self.leader is not None and self.leader.till <= self.moment:
            self.leader = None
        return self.leader

    @atomic
    def pulse(
        self,
        owner: str,
        ttl: timedelta,
        since: int,
        limit: int,
        info: SchedulerInfo,
        done: datetime | None = None,
        serial: int = 0,
    ) -> Pulse:
        """See :meth:`.SchedulerStore.pulse`."""
        till = cut(self.moment + ttl)
        lead = self._lead()
        if lead is None:
            self.epoch += 1
            lead = self.leader = LeadRow(owner=owner, epoch=self.epoch, info=info, till=till)
        elif lead.owner == owner and done is not None:
            lead.done = cut(done)
        leads = lead.owner == owner
        if leads:
            lead.info, lead.till = info, till
        known = self.schedulers_seen.get(owner)
        self.schedulers_seen[owner] = SchedulerLease(till, info=info, serial=serial)
        return Pulse(
            epoch=lead.epoch if leads else None,
            lead=lead.lead(self.moment),
            version=self.version,
            at=self.moment,
            changes=tuple(name for name, version in self.changed.items() if version > since),
            requests=tuple(islice(self.inbox.values(), max(0, limit))) if leads else (),
            owed=any(debt.due <= self.moment for debt in self.debts.values()),
            last=known.serial if known is not None else None,
        )

    @atomic
    def resign(self, owner: str) -> bool:
        """See :meth:`.SchedulerStore.resign`."""
        self.schedulers_seen.pop(owner, None)
        lead = self._lead()
        if lead is None or lead.owner != owner:
            return False
        self.leader = None
        self.nudge()
        return True

    @atomic
    def sight(self, prints: Mapping[str, str], mark: datetime) -> dict[str, Sight]:
        """See :meth:`.SchedulerStore.sight`."""
        fresh = cut(mark)
        answer = {}
        for name, fingerprint in prints.items():
            seen, old = self.seen.get(name), self.marks.get(name)
            changed = seen is not None and seen.fingerprint != fingerprint
            if old is None:
                self.forgotten[name] = fresh
            if old is None or (changed and old.fire_time < fresh):
                old = self.marks[name] = Mark(fire_time=fresh)
            if seen is None or changed:
                seen = self.seen[name] = Seen(anchor=seen.anchor if seen else fresh, fingerprint=fingerprint)
            answer[name] = Sight(mark=old.fire_time, anchor=seen.anchor, note=old.note)
        return answer

    @atomic
    def remind(self, marks: Mapping[str, datetime]) -> list[str]:
        """See :meth:`.SchedulerStore.remind`."""
        behind = []
        for name, mark in marks.items():
            old = self.marks.get(name)
            if old is None or old.fire_time < cut(mark):
                self.marks[name] = Mark(fire_time=cut(mark))
                self.forgotten[name] = cut(mark)
                behind.append(name)
        return behind

    @atomic
    def claim(self, claims: Sequence[Claim], owner: str, epoch: int | None, lead_ttl: timedelta) -> list[Verdict]:
        """See :meth:`.SchedulerStore.claim`."""
        if len(claims) > CLAIM_LIMIT:
            raise ValueError(f"at most {CLAIM_LIMIT} claims a call, got {len(claims)}; split them")
        if epoch is not None and claims:
            lead = self._lead()
            if lead is None or (lead.owner, lead.epoch) != (owner, epoch):
                return [self._verdict(claim, Granted.DEPOSED) for claim in claims]
            lead.till = cut(self.moment + lead_ttl)
            known = self.schedulers_seen.get(owner)
            serial = 0 if known is None else known.serial
            self.schedulers_seen[owner] = SchedulerLease(lead.till, info=lead.info, serial=serial)
        return [self._claim(claim, owner) for claim in claims]

    def _verdict(self, claim: Claim, granted: Granted, holder: str | None = None) -> Verdict:
        mark = self.marks.get(claim.job)
        return Verdict(granted=granted, mark=mark.fire_time if mark else None, holder=holder)

    def _claim(self, claim: Claim, owner: str) -> Verdict:
        settled = self._known(claim, owner) if claim.mark is None else self._stale(claim, owner, cut(claim.mark))
        if settled is not None:
            return settled
        for lapse in claim.lapses:
            self.write_lapse(claim.job, claim.kind, lapse, owner, claim.owes)
        granted, holder = Granted.LAPSED, None
        if claim.run_id is not None:
            granted, holder = self._lock_for(claim, claim.run_id)
            if granted is Granted.RUN:
                self._write_claimed(claim, claim.run_id, owner)
            else:
                skip = Lapse(state=State.SKIPPED, reason=granted.value, first=claim.fire_time, last=claim.fire_time)
                self.write_lapse(claim.job, claim.kind, skip, owner, claim.owes, claim.run_id)
                if claim.mark is None:
                    # It is accounted for: whoever claims it again has read it before it was acknowledged.
                    self.done[claim.run_id] = self.moment + REFUSED
                    self.refused[claim.run_id] = (owner, granted, holder)
        self.trim(claim.job)
        if claim.mark is not None:
            fire = cut(claim.fire_time)
            self.marks[claim.job] = Mark(fire_time=fire, owner=owner, granted=granted, holder=holder, note=claim.note)
        return self._verdict(claim, granted, holder)

    def _known(self, claim: Claim, owner: str) -> Verdict | None:
        if claim.run_id is None:
            return None
        run = self.all_runs.get(claim.run_id)
        if run is not None and run.state is State.CLAIMED and run.scheduler == owner:
            return self._verdict(claim, Granted.RUN)
        if run is None and not self.is_done(claim.run_id):
            return None
        asker, granted, holder = self.refused.get(claim.run_id, ("", Granted.KNOWN, None))
        if run is None and asker == owner:
            return self._verdict(claim, granted, holder)
        return self._verdict(claim, Granted.KNOWN)

    def _stale(self, claim: Claim, owner: str, expected: datetime) -> Verdict | None:
        mark = self.marks.get(claim.job)
        if mark is not None and mark.fire_time == expected:
            return None
        if mark is not None and (mark.fire_time, mark.owner) == (cut(claim.fire_time), owner):
            return self._verdict(claim, mark.granted or Granted.STALE, mark.holder)
        return self._verdict(claim, Granted.STALE)

    def _lock_for(self, claim: Claim, run_id: str) -> tuple[Granted, str | None]:
        held = self.holders(claim.lock or claim.job)
        if claim.limit == 0 or len(held) < claim.limit or run_id in held:
            return Granted.RUN, None
        holder = next(iter(held))
        return (Granted.NO_WORKER if self._unattended(holder) else Granted.OVERLAP), holder

    def _unattended(self, run_id: str) -> bool:
        run = self.all_runs.get(run_id)
        if run is None or run.state is not State.SENT or run.queue is None:
            return False
        return not any(
            run.queue in worker.info.queues for worker in self.workers_seen.values() if worker.till > self.moment
        )

    def _write_claimed(self, claim: Claim, run_id: str, owner: str) -> None:
        run = Run(
            id=run_id,
            job=claim.job,
            kind=claim.kind,
            fire_time=cut(claim.fire_time),
            lock=claim.lock or claim.job,
            limit=claim.limit,
            lock_ttl=claim.lock_ttl,
            claimed_at=self.moment,
            written=self.written(),
            message=claim.message,
            queue=claim.queue,
            jumps=claim.jumps,
            deadline=cut_or_none(claim.deadline),
            eta=cut_or_none(claim.eta),
            scheduler=owner,
            watched=claim.watched,
            owes=claim.owes,
            previous=self.successes.get(claim.job),
        )
        if run.limit:
            self.hold(run.lock, run_id, cut(self.ready(run) + run.lock_ttl))
        self.unconfirmed[run_id] = run
        self.write_run(run)

    @atomic
    def sent(self, ids: Sequence[str], astray: Collection[str] = ()) -> None:
        """See :meth:`.SchedulerStore.sent`."""
        for run_id in ids:
            self.unconfirmed.pop(run_id, None)
            run = self.all_runs.get(run_id)
            if run is None:
                continue
            run.sent_at = run.sent_at or self.moment
            if run_id in astray and run.state in (State.CLAIMED, State.SENT):
                self.missing.pop(run_id, None)
                self.expected.pop(run_id, None)
                run.queue = None
            if run.state is State.CLAIMED and not run.watched:
                self.finish(run, State.SENT, Reason.UNWATCHED, self.retention.dedup)
            elif run.state is State.CLAIMED:
                run.state = State.SENT
                self.queue_until(run)
                self.expect(run)
            elif run.state is State.SENT and run.again is not None:
                # Found lost, and sent once more; its queue time stays what it was.
                run.spare, run.again = run.again, None
                self.expect(run)

    @atomic
    def unsent(self, older_than: timedelta, limit: int, lost_after: timedelta | None = None) -> list[Unsent]:
        """See :meth:`.SchedulerStore.unsent`."""
        limit = max(0, limit)
        old = [run for run in self.unconfirmed.values() if run.claimed_at <= self.moment - older_than]
        answer = [self._unsent(run) for run in sorted(old, key=lambda run: run.written)[:limit]]
        if lost_after is not None:
            over = self.moment - lost_after
            lost = sorted((since, run_id) for run_id, since in self.missing.items() if since <= over)
            for _, run_id in lost[: limit - len(answer)]:
                run = self.all_runs[run_id]
                # Each time it is sent again it gets twice the time: the guess may be wrong.
                run.again = 2 * run.spare + lost_after
                # Whoever does not send it again leaves the turn to others.
                self.missing[run_id] = self.moment
                answer.append(self._unsent(run, lost=True))
        return answer

    def _unsent(self, run: Run, *, lost: bool = False) -> Unsent:
        return Unsent(
            id=run.id,
            job=run.job,
            kind=run.kind,
            fire_time=run.fire_time,
            claimed_at=run.claimed_at,
            message=run.message,
            queue=run.queue,
            deadline=run.deadline,
            lost=lost,
        )

    @atomic
    def reap(self, limit: int) -> list[Record]:
        """See :meth:`.SchedulerStore.reap`."""
        reaped = []
        for run in self._due(self.live, limit):
            parked = run.state is State.RETRYING
            self.finish(run, State.LOST, Reason.RETRY_LOST if parked else Reason.PROCESS_LOST, self.retention.dedup)
            reaped.append(run.record())
        for run in self._due(self.queued, limit):
            if run.deadline is not None and run.deadline <= self.moment:
                self.finish(run, State.EXPIRED, Reason.PAST_DEADLINE, self.retention.dedup)
            else:
                # No done memory: its message may still turn up, and then it may begin.
                self.finish(run, State.EXPIRED, Reason.QUEUE, NOTHING)
            reaped.append(run.record())
        self._keep(limit)
        return reaped

    def _due(self, index: Mapping[str, datetime], limit: int) -> list[Run]:
        due = sorted((till, run_id) for run_id, till in index.items() if till <= self.moment)
        return [self.all_runs[run_id] for _, run_id in due[: max(0, limit)]]

    def _keep(self, limit: int) -> None:
        excess = len(self.ended) - self.retention.total
        oldest = self.moment - self.retention.age
        for number, (run_id, ended) in enumerate(list(islice(self.ended.items(), max(0, limit)))):
            if number >= excess and ended > oldest:
                break
            run = self.all_runs[run_id]
            self.records[run.job].remove(run)
            self.forget(run)
        for run_id in [run_id for run_id, till in islice(self.done.items(), max(0, limit)) if till <= self.moment]:
            del self.done[run_id]
            self.refused.pop(run_id, None)
