"""The Redis driver: each verb's arguments in, its script run, its answer out."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from celery_legion.clock import from_ms, span_ms, to_ms
from celery_legion.errors import StoreError
from celery_legion.run import Kind, Record, State
from celery_legion.stores.base import (
    CLAIM_LIMIT,
    Admission,
    Answer,
    Claim,
    Debt,
    Granted,
    Interruption,
    Kept,
    Lead,
    Outcome,
    Pulse,
    Renewal,
    Retention,
    SchedulerInfo,
    Sight,
    StoreOptions,
    Ticket,
    Unsent,
    Verdict,
    WorkerInfo,
)
from celery_legion.stores.redis.connection import Connection
from celery_legion.stores.redis.inbox import Inbox, read_request
from celery_legion.stores.redis.reading import Reading
from celery_legion.stores.redis.records import moment, number, pack, read_debt
from celery_legion.stores.redis.unreadable import readable, report

EVERYONE = "*"
"""Who is hurried when it is no worker by name."""


def _ms(value: datetime | None) -> int | str:
    return "" if value is None else to_ms(value)


def _text(value: str | int | None) -> str:
    return "" if value is None else str(value)


def _owes(states: frozenset[State]) -> str:
    return ",".join(sorted(state.value for state in states))


class RedisStore(Inbox, Reading):
    """A store on one Redis or Valkey server. Every call is one round trip, bounded by ``options.timeout``."""

    def __init__(self, options: StoreOptions) -> None:
        self.options = options
        self.connection = Connection(options)

    # Scheduler

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
        said = (info.app, info.fingerprint, info.host, info.pid, _ms(done), serial, int(info.guarded), info.place)
        answer = self._run("pulse", (owner, span_ms(ttl), since, limit, *said))
        epoch, *record, left, version, changes, inbox, owed, at, last = answer
        lead_owner, lead_epoch, app, fingerprint, host, pid, claimed, guarded, place = record
        lead = Lead(
            owner=lead_owner,
            epoch=number(lead_epoch),
            info=SchedulerInfo(
                app=app or "",
                fingerprint=fingerprint or "",
                host=host or "",
                pid=number(pid),
                guarded=guarded != "0",
                place=place or "",
            ),
            expires_in=timedelta(milliseconds=max(0, int(left))),
            done=moment(claimed),
        )
        return Pulse(
            epoch=int(epoch) or None,
            lead=lead,
            version=int(version),
            at=from_ms(int(at)),
            changes=tuple(changes),
            requests=tuple(read_request(text) for text in inbox),
            owed=bool(owed),
            last=None if last == "" else int(last),
        )

    def resign(self, owner: str) -> bool:
        """See :meth:`.SchedulerStore.resign`."""
        return bool(self._run("resign", (owner,)))

    def sight(self, prints: Mapping[str, str], mark: datetime) -> dict[str, Sight]:
        """See :meth:`.SchedulerStore.sight`."""
        args: list[str | int] = [to_ms(mark)]
        for name, fingerprint in prints.items():
            args += (name, fingerprint)
        flat = self._run("sight", args)
        rows = zip(prints, flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True)
        sights = {}
        for name, at, anchor, lost, note in rows:
            if lost:
                report(self._key("marks"), name, "cannot be read; it is told anew")
            sights[name] = Sight(mark=from_ms(int(at)), anchor=from_ms(int(anchor)), note=str(note))
        return sights

    def remind(self, marks: Mapping[str, datetime]) -> list[str]:
        """See :meth:`.SchedulerStore.remind`."""
        args: list[str | int] = []
        for name, mark in marks.items():
            args += (name, to_ms(mark))
        return [str(name) for name in self._run("remind", args)]

    def claim(self, claims: Sequence[Claim], owner: str, epoch: int | None, lead_ttl: timedelta) -> list[Verdict]:
        """See :meth:`.SchedulerStore.claim`."""
        if len(claims) > CLAIM_LIMIT:
            raise ValueError(f"at most {CLAIM_LIMIT} claims a call, got {len(claims)}; split them")
        if not claims:
            return []
        args: list[str | int] = [owner, _text(epoch), span_ms(lead_ttl), self.options.retention.size]
        for claim in claims:
            args += _claim_args(claim)
        return [
            Verdict(granted=Granted(granted), mark=moment(mark), holder=holder or None)
            for granted, mark, holder in self._run("claim", args)
        ]

    def sent(self, ids: Sequence[str], astray: Collection[str] = ()) -> None:
        """See :meth:`.SchedulerStore.sent`."""
        if ids:
            first = [run_id for run_id in ids if run_id in astray]
            rest = [run_id for run_id in ids if run_id not in astray]
            self._run("sent", (span_ms(self.options.retention.dedup), len(first), *first, *rest))

    def unsent(self, older_than: timedelta, limit: int, lost_after: timedelta | None = None) -> list[Unsent]:
        """See :meth:`.SchedulerStore.unsent`."""
        span = "" if lost_after is None else span_ms(lost_after)
        rows = self._run("unsent", (span_ms(older_than), limit, span))
        found = (readable(self._key(f"run:{row[0]}"), "", _read_unsent, *row) for row in rows)
        return [unsent for unsent in found if unsent is not None]

    def reap(self, limit: int) -> list[Record]:
        """See :meth:`.SchedulerStore.reap`."""
        keep = self.options.retention
        ended = self._run("reap", (limit, span_ms(keep.dedup), keep.total, span_ms(keep.age)))
        records = (self._read_run(run_id, flat) for run_id, flat in ended)
        return [record for record in records if record is not None]

    # Hooks

    def owed(self, limit: int, patience: timedelta) -> list[Debt]:
        """See :meth:`.SchedulerStore.owed`."""
        rows = self._run("owed", (limit, span_ms(patience), span_ms(self.options.retention.age)))
        found = (self._read_debt(*row) for row in rows)
        return [debt for debt in found if debt is not None]

    def take(self, debt: str, asker: str, lease: timedelta) -> Debt | None:
        """See :meth:`.HookStore.take`."""
        row = self._run("take", (debt, asker, span_ms(lease)))
        return self._read_debt(debt, *row) if row else None

    def _read_debt(self, debt: str, job: str, text: str, sends: int | str, *added: str) -> Debt | None:
        record = readable(self._key(f"debt:{debt}"), "", read_debt, job, text, *added)
        return None if record is None else Debt(id=debt, record=record, sends=number(sends))

    def hooked(self, debt: str, error: str | None) -> bool:
        """See :meth:`.HookStore.hooked`."""
        return bool(self._run("hooked", (debt, _text(error))))

    # Worker

    def begin(self, ticket: Ticket) -> Answer:
        """See :meth:`.RunStore.begin`."""
        args = (
            ticket.id,
            ticket.job,
            to_ms(ticket.fire_time),
            ticket.kind.value,
            ticket.worker,
            ticket.retries,
            int(ticket.late),
            ticket.lock,
            ticket.limit,
            span_ms(ticket.lock_ttl),
            span_ms(ticket.lease),
            span_ms(ticket.visibility),
            ticket.asker,
            span_ms(self.options.retention.dedup),
            _owes(ticket.owes),
            int(ticket.known),
        )
        admission, token, attempt, wait, success = self._run("begin", args)
        return Answer(
            admission=Admission(admission),
            token=int(token),
            attempt=int(attempt),
            wait=timedelta(milliseconds=int(wait)),
            previous_success=readable(self._key("wins"), ticket.job, moment, success),
        )

    def renew(self, worker: str, renewals: Sequence[Renewal], lease: timedelta) -> dict[str, Kept]:
        """See :meth:`.RunStore.renew`."""
        if not renewals:
            return {}
        args: list[str | int] = [worker, span_ms(lease), span_ms(self.options.retention.dedup)]
        for renewal in renewals:
            args += (renewal.id, renewal.token, int(renewal.accepted), _text(renewal.pid))
        answers = self._run("renew", args)
        return {renewal.id: Kept(kept) for renewal, kept in zip(renewals, answers, strict=True)}

    def park(self, run_id: str, token: int, until: datetime, retries: int) -> bool:
        """See :meth:`.RunStore.park`."""
        return bool(self._run("park", (run_id, token, to_ms(until), retries, span_ms(self.options.retention.dedup))))

    def hand_back(self, worker: str, pid: int | None = None, begun: Mapping[str, int] | None = None) -> list[str]:
        """See :meth:`.RunStore.hand_back`."""
        named = () if begun is None else [part for run in begun.items() for part in run]
        return list(self._run("hand_back", (worker, _text(pid), int(begun is not None), *named)))

    def end(self, run_id: str, token: int, outcome: Outcome, retention: Retention) -> bool:
        """See :meth:`.RunStore.end`."""
        args = (
            run_id,
            token,
            outcome.state.value,
            _text(outcome.reason),
            _ms(outcome.started_at),
            _ms(outcome.ended_at),
            _text(outcome.pid),
            _text(outcome.exit_code),
            _text(outcome.error),
            _text(outcome.hook_error),
            pack(outcome.output),
            span_ms(outcome.dying),
            span_ms(retention.dedup),
            _text(outcome.hooks_by),
            span_ms(outcome.hooks_lease),
            retention.outputs,
            retention.output_total,
        )
        return bool(self._run("end", args))

    def progress(self, run_id: str, token: int, output: str) -> bool:
        """See :meth:`.RunStore.progress`."""
        keep = self.options.retention
        return bool(self._run("progress", (run_id, token, pack(output), keep.outputs, keep.output_total)))

    def leave(self, run_id: str, token: int, exit_code: int | None, output: str | None) -> bool:
        """See :meth:`.RunStore.leave`."""
        keep = self.options.retention
        return bool(
            self._run("leave", (run_id, token, _text(exit_code), pack(output), keep.outputs, keep.output_total))
        )

    def interrupt(self, run_id: str, signal: int, grace: timedelta) -> Record | None:
        """See :meth:`.RunStore.interrupt`."""
        flat = self._run("interrupt", (run_id, signal, span_ms(grace), span_ms(self.options.retention.dedup)))
        return self._read_run(run_id, flat)

    def interruption(self, run_id: str) -> Interruption | None:
        """See :meth:`.RunStore.interruption`."""
        asked, refused = self._run("interruption", (run_id,))
        if not asked and not refused:
            return None
        return readable(self._key(f"run:{run_id}"), "stop", _read_interruption, asked, refused)

    def refuse(self, run_id: str, token: int, why: str) -> bool:
        """See :meth:`.RunStore.refuse`."""
        return bool(self._run("refuse", (run_id, token, why)))

    def get(self, run_id: str) -> Record | None:
        """See :meth:`.RunStore.get`."""
        return self._read_run(run_id, self._run("get", (run_id,)))

    def register(self, info: WorkerInfo, lease: timedelta) -> None:
        """See :meth:`.ScheduleStore.register`."""
        idle = span_ms(info.idle)
        data = {"queues": list(info.queues), "version": info.version, "pid": info.pid, "idle": idle}
        text = json.dumps({**data, "remote": info.remote}, ensure_ascii=False)
        self._run("register", (info.name, span_ms(lease), text, idle, *info.queues))

    # Waking and keeping

    def wake(self) -> None:
        """See :meth:`.WakingStore.wake`."""
        self.connection.publish(self.connection.wake, "wake")

    def wait(self, timeout: timedelta) -> bool:
        """See :meth:`.WakingStore.wait`."""
        return self.connection.wake.listen(timeout.total_seconds())

    def hurry(self, worker: str | None = None) -> None:
        """See :meth:`.WakingStore.hurry`."""
        self.connection.publish(self.connection.hurry, worker or EVERYONE)

    def hurried(self, worker: str, timeout: timedelta) -> bool:
        """See :meth:`.WakingStore.hurried`."""
        return self.connection.hurry.listen(timeout.total_seconds(), lambda name: name in (worker, EVERYONE))

    def ping(self) -> None:
        """See :meth:`.Store.ping`."""
        self.connection.command("PING")

    def now(self) -> datetime:
        """See :meth:`.Store.now`."""
        seconds, micros = self.connection.command("TIME")
        return from_ms(int(seconds) * 1000 + int(micros) // 1000)

    def warnings(self) -> list[str]:
        """See :meth:`.Store.warnings`. A user who may not read the configuration is told nothing."""
        found = []
        try:
            policy = self.connection.setting("maxmemory-policy")
            saves = self.connection.setting("save")
            append = self.connection.setting("appendonly")
        except StoreError:
            return []
        if policy.startswith("allkeys"):
            found.append(f"the store's maxmemory-policy is {policy}: it may evict locks and marks; set noeviction")
        if append == "no" and not saves:
            found.append("the store keeps nothing on disk: a restart forgets locks and marks; turn appendonly on")
        return found

    def forget_connections(self) -> None:
        """See :meth:`.Store.forget_connections`."""
        self.connection.forget()

    def close(self) -> None:
        """See :meth:`.Store.close`."""
        self.connection.close()


def _read_unsent(
    run_id: str, job: str, kind: str, fire: str, claimed: str, message: str, queue: str, deadline: str, lost: int
) -> Unsent:
    return Unsent(
        id=run_id,
        job=job,
        kind=Kind(kind),
        fire_time=from_ms(int(fire)),
        claimed_at=from_ms(int(claimed)),
        message=message,
        queue=queue or None,
        deadline=moment(deadline),
        lost=bool(lost),
    )


def _read_interruption(asked: str, refused: str) -> Interruption:
    signal, _, grace = asked.partition("|")
    return Interruption(signal=int(signal or 0), grace=timedelta(milliseconds=int(grace or 0)), refused=refused or None)


def _claim_args(claim: Claim) -> tuple[str | int, ...]:
    lapses = [
        (lapse.state.value, lapse.reason, to_ms(lapse.first), to_ms(lapse.last), lapse.count) for lapse in claim.lapses
    ]
    return (
        claim.job,
        to_ms(claim.fire_time),
        _ms(claim.mark),
        _text(claim.run_id),
        claim.kind.value,
        json.dumps(lapses, ensure_ascii=False) if lapses else "",
        claim.lock or claim.job,
        claim.limit,
        span_ms(claim.lock_ttl),
        claim.message,
        _ms(claim.deadline),
        _text(claim.queue),
        int(claim.watched),
        _owes(claim.owes),
        int(claim.jumps),
        _ms(claim.eta),
        claim.note,
    )
