"""Two stores that get the same calls at the same moments: what the memory store answers, Redis must answer too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from celery_legion.run import Kind, Record, State
from celery_legion.stores.base import (
    Admission,
    Answer,
    Claim,
    Granted,
    Kept,
    Outcome,
    Renewal,
    Ticket,
    Verdict,
    debt_id,
)
from celery_legion.testing.conformance_case import NO_TIME, attend, lead, minute
from tests.properties.store_ground import (
    ENDS,
    JOBS,
    KEEP,
    RANKS,
    STEP,
    Life,
    StoreGround,
    even,
    jobs,
    minutes,
    missing,
    odd,
    owners,
    workers,
)


class StoreMachine(StoreGround):
    """Claims, begins, renewals, parks, hand-backs, releases, ends and reaps, in any order."""

    # The scheduler's verbs

    @rule(owner=owners, ttl=odd)
    def take_lead(self, owner: str, ttl: timedelta) -> None:
        def pulse(store: Any) -> Any:
            answer = lead(store, owner, ttl)
            return answer.epoch, answer.lead, answer.owed

        epoch, _, _ = self.both(pulse)
        if epoch is not None:
            assert epoch >= max(self.epochs.values(), default=0)
            self.epochs[owner] = epoch

    @rule(owner=owners)
    def resign(self, owner: str) -> None:
        self.both(lambda store: store.resign(owner))

    @rule(job=jobs, number=st.sampled_from(("print", "other")))
    def sight(self, job: str, number: str) -> None:
        mark = minute(self.numbers[job] - 1)
        self.both(lambda store: store.sight({job: number}, mark))

    @rule(data=st.data(), owner=owners, job=jobs, push=st.booleans(), leads=st.booleans(), ttl=odd)
    def claim(self, data: st.DataObject, owner: str, job: str, push: bool, leads: bool, ttl: timedelta) -> None:
        one = self.draw_push(data, job) if push else self.draw_claim(data, job)
        epoch = self.epochs.get(owner, 99) if leads else None
        call = ([one], owner, epoch, ttl)
        verdicts: list[Verdict] = self.both(lambda store: store.claim(*call))
        if data.draw(st.booleans()):
            # A reply got lost: who claims again is told the same, and nothing is written.
            assert self.both(lambda store: store.claim(*call)) == verdicts
        self.account(one, verdicts[0])

    def account(self, one: Claim, verdict: Verdict) -> None:
        written = verdict.granted not in (Granted.STALE, Granted.DEPOSED, Granted.KNOWN)
        assert one.run_id is not None or verdict.granted in (Granted.LAPSED, Granted.STALE, Granted.DEPOSED)
        again = one.run_id in self.claims
        if verdict.granted is Granted.RUN and one.run_id is not None:
            self.claims.setdefault(one.run_id, one)
            self.records[one.job].add(one.run_id)
        if not written or (one.mark is None and again):
            return
        if one.mark is None and verdict.granted is not Granted.RUN:
            # A push that came to nothing is remembered; whoever asks again is told the same, and nothing is written.
            self.claims.setdefault(one.run_id or "", one)
        self.lapsed[one.job] += len(one.lapses) + (verdict.granted in (Granted.OVERLAP, Granted.NO_WORKER))
        if one.mark is not None:
            self.numbers[one.job] = minutes(one.fire_time) + 1

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), astray=st.booleans())
    def sent(self, data: st.DataObject, astray: bool) -> None:
        run_id = self.ids(data)
        self.both(lambda store: store.sent([run_id], [run_id] if astray else []))

    @rule(age=odd, lost_after=st.none() | missing, again=st.booleans())
    def unsent(self, age: timedelta, lost_after: timedelta | None, again: bool) -> None:
        found = self.both(lambda store: store.unsent(age, 100, lost_after))
        assert not any(one.lost for one in found) or lost_after is not None
        if again:
            self.both(lambda store: store.sent([one.id for one in found]))

    @rule(limit=st.sampled_from((1, 100)))
    def reap(self, limit: int) -> None:
        for record in self.both(lambda store: store.reap(limit)):
            self.lives.pop(record.id, None)

    # The worker's verbs

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), anew=st.integers(0, 9))
    def begin(self, data: st.DataObject, anew: int) -> None:
        run_id = self.ids(data)
        if not anew:
            # A message of a run that the store has lost.
            run_id = f"lost-{data.draw(jobs)}-{data.draw(st.integers(1, 2))}"
        asked = self.draw_ticket(data, run_id)
        if not anew and run_id not in self.claims:
            asked = replace(asked, kind=data.draw(st.sampled_from((Kind.PUSHED, Kind.SCHEDULED))))
        answer: Answer = self.both(lambda store: store.begin(asked))
        if run_id not in self.claims and self.model.get(run_id) is not None:
            # It is written anew, also when it then may not begin.
            self.records[asked.job].add(run_id)
            self.claims[run_id] = Claim(
                job=asked.job,
                fire_time=asked.fire_time,
                mark=None,
                run_id=run_id,
                kind=asked.kind,
                lock=asked.lock,
                limit=asked.limit,
                lock_ttl=asked.lock_ttl,
            )
        if answer.admission is Admission.SUPERSEDED:
            self.lives.pop(run_id, None)
        if answer.admission is Admission.GO:
            self.begun(self.claims[run_id], asked, answer)

    def begun(self, one: Claim, asked: Ticket, answer: Answer) -> None:
        run_id, till = asked.id, self.now + asked.lease
        if answer.token == self.tokens.get(run_id, [0])[-1]:
            self.lives[run_id].till = max(self.lives[run_id].till, till)
            return
        assert answer.token > self.highest
        self.highest = answer.token
        self.tokens.setdefault(run_id, []).append(answer.token)
        beside = [
            other
            for other, life in self.lives.items()
            if other != run_id and life.lock == one.lock and life.limit and not life.freed and life.till > self.now
        ]
        assert not (beside and one.limit), f"{run_id} has begun beside {beside}"
        self.lives[run_id] = Life(one.lock, one.limit, till)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), worker=workers, lease=odd, accepted=st.booleans(), pid=st.none() | st.integers(1, 3))
    def renew(self, data: st.DataObject, worker: str, lease: timedelta, accepted: bool, pid: int | None) -> None:
        run_id = self.ids(data)
        renewal = Renewal(id=run_id, token=self.token(data, run_id), accepted=accepted, pid=pid)
        kept = self.both(lambda store: store.renew(worker, [renewal], lease))[run_id]
        life = self.lives.get(run_id)
        if kept is Kept.LOST or life is None or not renewal.token:
            return
        beside = [
            other
            for other, one in self.lives.items()
            if other != run_id and one.lock == life.lock and one.limit and not one.freed and one.till > self.now
        ]
        assert not (beside and life.limit and not life.freed), f"{run_id} goes on beside {beside}"
        life.till = max(life.till, self.now + lease)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), until=even, retries=st.integers(1, 2))
    def park(self, data: st.DataObject, until: timedelta, retries: int) -> None:
        run_id = self.ids(data)
        token, moment = self.token(data, run_id), self.now + until
        self.both(lambda store: store.park(run_id, token, moment, retries))
        self.follow(run_id)

    def follow(self, run_id: str) -> None:
        """Take over what became of a run's lease from the lock, as far as it holds it."""
        record = self.model.get(run_id)
        if record is None or record.state not in (State.RUNNING, State.RETRYING):
            self.lives.pop(run_id, None)
        elif (life := self.lives.get(run_id)) is not None:
            spans = [one.expires_in for lock in self.model.locks() for one in lock.holders if one.run_id == run_id]
            life.till = max([life.till, *(self.now + span for span in spans)])

    @rule(worker=workers)
    def hand_back(self, worker: str) -> None:
        for run_id in self.both(lambda store: store.hand_back(worker)):
            self.lives.pop(run_id, None)
            self.went_back.add(run_id)

    @precondition(lambda self: self.claims)
    @rule(
        data=st.data(),
        state=st.sampled_from(ENDS),
        dying=st.just(timedelta(0)) | odd,
        by=st.none() | workers,
        lease=odd,
    )
    def end(self, data: st.DataObject, state: State, dying: timedelta, by: str | None, lease: timedelta) -> None:
        run_id = self.ids(data)
        token = self.token(data, run_id)
        outcome = Outcome(
            state=state,
            reason=data.draw(st.none() | st.just("time_limit")),
            ended_at=data.draw(st.none() | st.just(self.now)),
            exit_code=data.draw(st.none() | st.integers(0, 1)),
            error=data.draw(st.none() | st.just("it broke")),
            output=data.draw(st.none() | st.just("tail")),
            dying=dying,
            hooks_by=by,
            hooks_lease=lease,
        )
        if self.both(lambda store: store.end(run_id, token, outcome, KEEP)):
            self.lives.pop(run_id, None)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), code=st.none() | st.integers(0, 1), output=st.none() | st.just("last words"))
    def leave(self, data: st.DataObject, code: int | None, output: str | None) -> None:
        run_id = self.ids(data)
        token = self.token(data, run_id)
        self.both(lambda store: store.leave(run_id, token, code, output))

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), output=st.sampled_from(("", "so far")))
    def progress(self, data: st.DataObject, output: str) -> None:
        run_id = self.ids(data)
        token = self.token(data, run_id)
        self.both(lambda store: store.progress(run_id, token, output))

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def interrupt(self, data: st.DataObject) -> None:
        run_id = self.ids(data)
        self.both(lambda store: store.interrupt(run_id, 15, timedelta(seconds=5)))
        self.both(lambda store: store.interruption(run_id))
        self.follow(run_id)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        run_id = self.ids(data)
        token = self.token(data, run_id)
        self.both(lambda store: store.refuse(run_id, token, "cannot"))

    # Hooks, people and time

    @rule(patience=odd)
    def owed(self, patience: timedelta) -> None:
        self.both(lambda store: store.owed(100, patience))

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), worker=workers, lease=odd, pay=st.booleans())
    def take(self, data: st.DataObject, worker: str, lease: timedelta, pay: bool) -> None:
        run_id = self.ids(data)
        debt = debt_id(run_id, self.token(data, run_id))
        self.both(lambda store: store.take(debt, worker, lease))
        if pay:
            self.both(lambda store: store.hooked(debt, "a hook failed"))

    @rule(worker=workers, queue=st.sampled_from(("celery", "other")), lease=odd, idle=st.just(NO_TIME) | odd)
    def register(self, worker: str, queue: str, lease: timedelta, idle: timedelta) -> None:
        self.both(lambda store: attend(store, queue, name=worker, lease=lease, idle=idle))
        self.both(lambda store: store.workers())

    @rule(name=st.sampled_from(("a", "shared", None, "nothing")))
    def release(self, name: str | None) -> None:
        for lock in self.both(lambda store: store.release(name)):
            for holder in lock.holders:
                if holder.run_id in self.lives:
                    self.lives[holder.run_id].freed = True

    @rule(steps=st.integers(1, 6))
    def pass_time(self, steps: int) -> None:
        # Somebody is heard of all the while: silence is a matter of its own, which only servers know.
        heartbeat: Sequence[Renewal] = [Renewal(id="heartbeat", token=0, accepted=False)]
        for _ in range(steps):
            self.server.advance(STEP)
            self.both(lambda store: store.renew("worker-1", heartbeat, STEP))

    # What always holds

    @invariant()
    def both_show_the_same(self) -> None:
        self.both(lambda store: store.locks())
        self.both(lambda store: store.running())
        self.both(lambda store: store.states(JOBS))
        self.both(lambda store: store.schedulers())

    @invariant()
    def every_claimed_fire_is_in_exactly_one_record(self) -> None:
        for job in JOBS:
            found: list[Record] = self.both(lambda store, job=job: store.runs(job, 1000))
            ids = [record.id for record in found if record.id is not None]
            assert len(ids) == len(set(ids))
            assert set(ids) == self.records[job]
            assert sum(record.count for record in found if record.id is None) == self.lapsed[job]

    @invariant()
    def states_only_go_forward(self) -> None:
        for job in JOBS:
            for record in self.model.runs(job, 1000):
                if record.id is None:
                    continue
                rank, before = RANKS.get(record.state, 3), self.ranks.get(record.id, 0)
                again = record.id in self.went_back or self.ranks.get(record.id) == 4
                assert rank >= before or again, f"{record.id} went from rank {before} to {record.state}"
                late = record.state is State.LOST or (record.state, record.reason) == (State.EXPIRED, "queue")
                self.ranks[record.id] = 4 if late else rank
        self.went_back.clear()
