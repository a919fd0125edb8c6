"""The reading verbs and live changes of the Redis driver."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from celery_legion.clock import from_ms, to_ms
from celery_legion.run import Record, State
from celery_legion.stores.base import Holder, JobState, Lead, Lock, Pause, SchedulerInfo, WorkerInfo
from celery_legion.stores.redis.connection import Connection
from celery_legion.stores.redis.records import moment, read_item, read_pause, read_run

JOBS_A_CALL = 20
"""Most jobs whose records one script reads: with 100 records each it blocks the server for a few milliseconds."""


class Reading:
    """What people look at, and what they change while the schedule runs."""

    connection: Connection

    def put(self, name: str, definition: str) -> int:
        """See :meth:`.ScheduleStore.put`."""
        return int(self._run("put", (name, definition)))

    def drop(self, name: str) -> bool:
        """See :meth:`.ScheduleStore.drop`."""
        return bool(self._run("drop", (name,)))

    def definitions(self) -> dict[str, str]:
        """See :meth:`.ScheduleStore.definitions`."""
        flat = self._run("definitions", ())
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def pause(self, pause: Pause) -> int:
        """See :meth:`.ScheduleStore.pause`."""
        data = {
            "since": to_ms(pause.since),
            "until": None if pause.until is None else to_ms(pause.until),
            "note": pause.note,
        }
        return int(self._run("pause", (pause.name, json.dumps(data))))

    def resume(self, name: str) -> bool:
        """See :meth:`.ScheduleStore.resume`."""
        return bool(self._run("resume", (name,)))

    def pauses(self) -> dict[str, Pause]:
        """See :meth:`.ScheduleStore.pauses`."""
        flat = self._run("pauses", ())
        return {name: read_pause(name, text) for name, text in zip(flat[::2], flat[1::2], strict=True)}

    def states(self, names: Sequence[str]) -> dict[str, JobState]:
        """See :meth:`.ReadingStore.states`."""
        if not names:
            return {}
        pauses = self.pauses()
        answer = {}
        for name, (mark, sight, _, latest, run_id, last) in zip(names, self._run("states", names), strict=True):
            item = read_item(name, latest) if latest else None
            answer[name] = JobState(
                name=name,
                mark=from_ms(int(mark.partition("|")[0])) if mark else None,
                anchor=moment(sight.partition("|")[0]),
                last=read_run(run_id, last),
                latest=item[1] if item else None,
                pause=pauses.get(name) or pauses.get("*"),
            )
        return answer

    def runs(self, job: str | None, limit: int) -> list[Record]:
        """See :meth:`.ReadingStore.runs`."""
        if limit <= 0:
            return []
        found: list[tuple[datetime, Record]] = []
        over = 0
        while True:
            following, rows = self._run("runs", (job or "", limit, over, JOBS_A_CALL))
            found += [item for item in (read_item(name, item) for name, item in rows) if item is not None]
            if job is not None:
                break
            found.sort(key=lambda item: item[0], reverse=True)
            del found[limit:]
            # The jobs come by their newest record: none of a later one can be among these any more.
            if not following or (len(found) == limit and found[-1][0] > from_ms(int(float(following)))):
                break
            over += JOBS_A_CALL
        return [record for _, record in found]

    def running(self) -> list[Record]:
        """See :meth:`.ReadingStore.running`."""
        found = (read_run(run_id, flat) for run_id, flat in self._run("running", ()))
        return [record for record in found if record is not None]

    def locks(self) -> list[Lock]:
        """See :meth:`.ReadingStore.locks`."""
        return self._locks(None, "read")

    def release(self, name: str | None) -> list[Lock]:
        """See :meth:`.ReadingStore.release`."""
        return self._locks(name, "release")

    def _locks(self, name: str | None, how: str) -> list[Lock]:
        found = self._run("locks", (name or "", how))
        return sorted(
            (Lock(name=lock, holders=tuple(map(_holder, held))) for lock, held in found), key=lambda lock: lock.name
        )

    def schedulers(self) -> list[Lead]:
        """See :meth:`.ReadingStore.schedulers`."""
        leads = [_lead(*row) for row in self._run("schedulers", ())]
        return sorted(leads, key=lambda lead: (-lead.epoch, lead.owner))

    def workers(self) -> list[WorkerInfo]:
        """See :meth:`.ReadingStore.workers`."""
        return sorted((_worker(*row) for row in self._run("workers", ())), key=lambda worker: worker.name)

    def queues(self) -> frozenset[str]:
        """See :meth:`.ReadingStore.queues`."""
        return frozenset(self._run("queues", ()))

    def _run(self, verb: str, args: Sequence[str | int]) -> Any:
        return self.connection.run(verb, args)


def _holder(row: Sequence[Any]) -> Holder:
    run_id, job, state, worker, left = row
    return Holder(
        run_id=run_id,
        job=job,
        state=State(state) if state else State.LOST,
        expires_in=timedelta(milliseconds=max(0, int(left))),
        worker=worker or None,
    )


def _lead(owner: str, text: str, left: int, epoch: int | str) -> Lead:
    data = json.loads(text)
    info = SchedulerInfo(
        app=data.get("app", ""),
        fingerprint=data.get("print", ""),
        host=data.get("host", ""),
        pid=int(data.get("pid", 0)),
    )
    return Lead(owner=owner, epoch=int(epoch), info=info, expires_in=timedelta(milliseconds=max(0, int(left))))


def _worker(name: str, text: str, left: int) -> WorkerInfo:
    data = json.loads(text)
    return WorkerInfo(
        name=name,
        queues=tuple(data.get("queues", ())),
        version=data.get("version", ""),
        pid=int(data.get("pid", 0)),
        expires_in=timedelta(milliseconds=max(0, int(left))),
    )
