"""The reading verbs and live changes of the Redis driver."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from celery_legion.clock import to_ms
from celery_legion.run import Record, State
from celery_legion.stores.base import Holder, JobState, Lead, Lock, Pause, SchedulerInfo, WorkerInfo
from celery_legion.stores.redis.connection import Connection
from celery_legion.stores.redis.records import moment, read_item, read_pause, read_run, write_pause
from celery_legion.stores.redis.unreadable import readable, text_of

JOBS_A_CALL = 20
"""Most jobs whose records one script reads: with 100 records each it blocks the server for a few milliseconds."""

STATES = frozenset(State)

LONGEST = 10**15
"""Most milliseconds that a lease may be said to have left."""


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
        return int(self._run("pause", (pause.name, write_pause(pause))))

    def resume(self, name: str) -> bool:
        """See :meth:`.ScheduleStore.resume`."""
        return bool(self._run("resume", (name,)))

    def pauses(self) -> dict[str, Pause]:
        """See :meth:`.ScheduleStore.pauses`."""
        flat = self._run("pauses", ())
        key = self._key("pauses")
        return {name: read_pause(key, name, text) for name, text in zip(flat[::2], flat[1::2], strict=True)}

    def states(self, names: Sequence[str]) -> dict[str, JobState]:
        """See :meth:`.ReadingStore.states`."""
        if not names:
            return {}
        pauses = self.pauses()
        answer = {}
        for name, (mark, sight, _, latest, run_id, last) in zip(names, self._run("states", names), strict=True):
            item = self._read_item(name, latest) if latest else None
            answer[name] = JobState(
                name=name,
                mark=readable(self._key("marks"), name, _read_first, mark),
                anchor=readable(self._key("sights"), name, _read_first, sight),
                last=self._read_run(run_id, last),
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
            found += [item for item in (self._read_item(name, item) for name, item in rows) if item is not None]
            if job is not None:
                break
            found.sort(key=lambda item: item[0], reverse=True)
            del found[limit:]
            # The jobs come by their newest record: none of a later one can be among these any more.
            if not following or (len(found) == limit and to_ms(found[-1][0]) > float(following)):
                break
            over += JOBS_A_CALL
        return [record for _, record in found]

    def running(self) -> list[Record]:
        """See :meth:`.ReadingStore.running`."""
        found = (self._read_run(run_id, flat) for run_id, flat in self._run("running", ()))
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
        key = self._key("scheduler")
        leads = (readable(key, row[0], _lead, *row) for row in self._run("schedulers", ()))
        return sorted((lead for lead in leads if lead is not None), key=lambda lead: (-lead.epoch, lead.owner))

    def workers(self) -> list[WorkerInfo]:
        """See :meth:`.ReadingStore.workers`."""
        key = self._key("worker")
        found = (readable(key, row[0], _worker, *row) for row in self._run("workers", ()))
        return sorted((worker for worker in found if worker is not None), key=lambda worker: worker.name)

    def queues(self) -> frozenset[str]:
        """See :meth:`.ReadingStore.queues`."""
        return frozenset(self._run("queues", ()))

    def _run(self, verb: str, args: Sequence[str | int]) -> Any:
        return self.connection.run(verb, args)

    def _key(self, name: str) -> str:
        return f"{self.connection.base}{name}"

    def _read_run(self, run_id: str, flat: Sequence[str]) -> Record | None:
        return readable(self._key(f"run:{run_id}"), "", read_run, run_id, flat)

    def _read_item(self, job: str, item: Any) -> tuple[datetime, Record] | None:
        key = f"ledger:{job}" if isinstance(item, str) else f"run:{item[0]}"
        return readable(self._key(key), "", read_item, job, item)


def _read_first(text: str) -> datetime | None:
    """Return the moment that a text of fields with bars between begins with."""
    if not text:
        return None
    first, bar, _ = text.partition("|")
    if not bar:
        raise ValueError(first)
    return moment(first)


def _left(ms: int) -> timedelta:
    return timedelta(milliseconds=min(max(0, ms), LONGEST))


def _holder(row: Sequence[Any]) -> Holder:
    run_id, job, state, worker, left = row
    return Holder(
        run_id=run_id,
        job=job,
        state=State(state) if state in STATES else State.LOST,
        expires_in=_left(left),
        worker=worker or None,
    )


def _lead(owner: str, text: str, left: int, epoch: int | str) -> Lead:
    data = json.loads(text)
    info = SchedulerInfo(
        app=text_of(data.get("app", "")),
        fingerprint=text_of(data.get("print", "")),
        host=text_of(data.get("host", "")),
        pid=int(data.get("pid", 0)),
        guarded=data.get("legion") != "0",
        place=text_of(data.get("place", "")),
    )
    return Lead(owner=owner, epoch=int(epoch), info=info, expires_in=_left(left))


def _worker(name: str, text: str, left: int) -> WorkerInfo:
    data = json.loads(text)
    return WorkerInfo(
        name=name,
        queues=tuple(map(text_of, data.get("queues", ()))),
        version=text_of(data.get("version", "")),
        pid=int(data.get("pid", 0)),
        expires_in=_left(left),
        idle=timedelta(milliseconds=int(data.get("idle", 0))),
        remote=data.get("remote") is not False,
    )
