"""Pushes, live changes of the schedule, and what people look at, in the memory store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from heapq import nlargest
from itertools import chain, islice

from celery_legion.run import Record, State
from celery_legion.stores.base import Aside, Holder, JobState, Lead, Lock, Pause, Request, WorkerInfo
from celery_legion.stores.data import BODY_KEPT
from celery_legion.stores.memory.ground import NOTHING, Ground, atomic
from celery_legion.stores.memory.rows import Run, WorkerLease, cut, cut_or_none


class Reading(Ground):
    """The verbs of inbox, schedule and reading."""

    @atomic
    def push(self, request: Request) -> None:
        """See :meth:`.InboxStore.push`."""
        self.inbox.setdefault(request.id, request)
        self.nudge()

    @atomic
    def ack(self, ids: Sequence[str]) -> None:
        """See :meth:`.InboxStore.ack`."""
        for run_id in ids:
            self.inbox.pop(run_id, None)

    @atomic
    def requests(self, limit: int) -> list[Request]:
        """See :meth:`.InboxStore.requests`."""
        return list(islice(self.inbox.values(), max(0, limit)))

    @atomic
    def put_aside(self, request_id: str, why: str) -> bool:
        """See :meth:`.InboxStore.put_aside`."""
        request = self.inbox.pop(request_id, None)
        if request is None:
            return False
        kept = replace(request, body=request.body[:BODY_KEPT])
        self.aside.appendleft(Aside(request=kept, why=why[:BODY_KEPT], at=cut(self.moment)))
        return True

    @atomic
    def asides(self, limit: int) -> list[Aside]:
        """See :meth:`.InboxStore.asides`."""
        return list(islice(self.aside, max(0, limit)))

    @atomic
    def put(self, name: str, definition: str) -> int:
        """See :meth:`.ScheduleStore.put`."""
        self.jobs[name] = definition
        return self.bump(name)

    @atomic
    def drop(self, name: str) -> bool:
        """See :meth:`.ScheduleStore.drop`."""
        if self.jobs.pop(name, None) is None:
            return False
        self.bump(name)
        return True

    @atomic
    def definitions(self) -> dict[str, str]:
        """See :meth:`.ScheduleStore.definitions`."""
        return dict(self.jobs)

    @atomic
    def pause(self, pause: Pause) -> int:
        """See :meth:`.ScheduleStore.pause`."""
        note = pause.note.encode("utf-8", "replace").decode()
        self.paused[pause.name] = replace(pause, since=cut(pause.since), until=cut_or_none(pause.until), note=note)
        return self.bump(pause.name)

    @atomic
    def resume(self, name: str) -> bool:
        """See :meth:`.ScheduleStore.resume`."""
        in_force = name in self._pauses()
        if self.paused.pop(name, None) is not None:
            self.bump(name)
        return in_force

    @atomic
    def pauses(self) -> dict[str, Pause]:
        """See :meth:`.ScheduleStore.pauses`."""
        return self._pauses()

    def _pauses(self) -> dict[str, Pause]:
        return {name: pause for name, pause in self.paused.items() if pause.until is None or pause.until > self.moment}

    @atomic
    def register(self, info: WorkerInfo, lease: timedelta) -> None:
        """See :meth:`.ScheduleStore.register`."""
        self.workers_seen[info.name] = WorkerLease(cut(self.moment + lease), info=info)
        self.queues_seen.update(info.queues)
        if info.idle > NOTHING:
            for queue in info.queues:
                self.note_gone(queue, self.moment - info.idle, jumping=True)

    @atomic
    def states(self, names: Sequence[str]) -> dict[str, JobState]:
        """See :meth:`.ReadingStore.states`."""
        pauses = self._pauses()
        return {name: self._state(name, pauses.get(name) or pauses.get("*")) for name in names}

    def _state(self, name: str, pause: Pause | None) -> JobState:
        mark, seen = self.marks.get(name), self.seen.get(name)
        ledger = self.records.get(name, ())
        last = next((item for item in ledger if isinstance(item, Run)), None)
        latest = next(iter(ledger), None)
        return JobState(
            name=name,
            mark=mark.fire_time if mark else None,
            anchor=seen.anchor if seen else None,
            last=last.record() if last else None,
            latest=latest.record() if latest else None,
            pause=pause,
        )

    @atomic
    def runs(self, job: str | None, limit: int) -> list[Record]:
        """See :meth:`.ReadingStore.runs`."""
        if limit <= 0:
            return []
        if job is not None:
            return [item.record() for item in islice(self.records.get(job, ()), limit)]
        everything = chain.from_iterable(self.records.values())
        return [item.record() for item in nlargest(limit, everything, key=lambda item: item.written)]

    @atomic
    def running(self) -> list[Record]:
        """See :meth:`.ReadingStore.running`."""
        return [self.all_runs[run_id].record() for run_id in self.live]

    @atomic
    def locks(self) -> list[Lock]:
        """See :meth:`.ReadingStore.locks`."""
        return self._locks(sorted(self.held))

    @atomic
    def release(self, name: str | None) -> list[Lock]:
        """See :meth:`.ReadingStore.release`."""
        names = sorted(self.held) if name is None else [name]
        freed = self._locks(names)
        for lock in names:
            for run_id in self.held.pop(lock, {}):
                run = self.all_runs.get(run_id)
                if run is not None and run.begun:
                    run.freed = True
        return freed

    def _locks(self, names: Sequence[str]) -> list[Lock]:
        found = ((name, self.holders(name)) for name in names)
        return [
            Lock(name=name, holders=tuple(self._holder(run_id, till - self.moment) for run_id, till in held.items()))
            for name, held in found
            if held
        ]

    def _holder(self, run_id: str, expires_in: timedelta) -> Holder:
        run = self.all_runs.get(run_id)
        return Holder(
            run_id=run_id,
            job=run.job if run else "",
            state=run.state if run else State.LOST,
            expires_in=expires_in,
            worker=run.worker if run else None,
        )

    @atomic
    def schedulers(self) -> list[Lead]:
        """See :meth:`.ReadingStore.schedulers`."""
        leader = self.leader if self.leader is not None and self.leader.till > self.moment else None
        standbys = [
            Lead(owner=owner, epoch=0, info=lease.info, expires_in=lease.till - self.moment)
            for owner, lease in sorted(self.schedulers_seen.items())
            if lease.till > self.moment and (leader is None or owner != leader.owner)
        ]
        return ([leader.lead(self.moment)] if leader else []) + standbys

    @atomic
    def workers(self) -> list[WorkerInfo]:
        """See :meth:`.ReadingStore.workers`."""
        return [
            replace(lease.info, expires_in=lease.till - self.moment)
            for _, lease in sorted(self.workers_seen.items())
            if lease.till > self.moment
        ]

    @atomic
    def queues(self) -> frozenset[str]:
        """See :meth:`.ReadingStore.queues`."""
        return frozenset(self.queues_seen)
