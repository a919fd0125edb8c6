"""Reading what the scripts return: runs as flat lists, lapses as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from celery_legion.clock import from_ms
from celery_legion.run import Kind, Record, State
from celery_legion.stores.base import Pause


def moment(text: str | int | None) -> datetime | None:
    """Return the moment of a field of milliseconds, None for a missing or empty one."""
    return None if text is None or text == "" else from_ms(int(text))


def _number(text: str | None) -> int | None:
    return None if text is None or text == "" else int(text)


def read_run(run_id: str, flat: Sequence[str]) -> Record | None:
    """Return the record of a run, None if the store has none."""
    if not flat:
        return None
    run = dict(zip(flat[::2], flat[1::2], strict=True))
    fire = from_ms(int(run["fire"]))
    return Record(
        id=run_id,
        job=run["job"],
        kind=Kind(run["kind"]),
        fire_time=fire,
        last_fire_time=fire,
        state=State(run["state"]),
        reason=run.get("reason") or None,
        claimed_at=moment(run.get("claimed")),
        sent_at=moment(run.get("sent")),
        started_at=moment(run.get("started")),
        ended_at=moment(run.get("ended")),
        attempt=int(run.get("attempt", 0)),
        token=int(run.get("token", 0)),
        worker=run.get("worker") or None,
        pid=_number(run.get("pid")),
        exit_code=_number(run.get("exit")),
        error=run.get("error") or None,
        output=run.get("output") or None,
        scheduler=run.get("scheduler") or None,
    )


def read_lapse(job: str, text: str) -> tuple[datetime, Record]:
    """Return when a lapse was last written to, and its record."""
    data = json.loads(text)
    at = from_ms(int(data["at"]))
    return at, Record(
        id=None,
        job=job,
        kind=Kind(data["kind"]),
        fire_time=from_ms(int(data["first"])),
        last_fire_time=from_ms(int(data["last"])),
        state=State(data["state"]),
        reason=data["reason"],
        count=int(data["count"]),
        claimed_at=moment(data.get("since")),
        ended_at=at,
        scheduler=data.get("scheduler") or None,
    )


def read_item(job: str, item: Any) -> tuple[datetime, Record] | None:
    """Return one item of a ledger with its time of writing: a lapse, or ``[id, flat run]``."""
    if isinstance(item, str):
        return read_lapse(job, item)
    record = read_run(item[0], item[1])
    if record is None or record.claimed_at is None:
        return None
    return record.claimed_at, record


def read_pause(name: str, text: str) -> Pause:
    """Return a pause from its JSON."""
    data = json.loads(text)
    return Pause(name=name, since=from_ms(data["since"]), until=moment(data["until"]), note=data["note"])
