"""Reading what the scripts return: runs as flat lists, lapses as JSON."""

from __future__ import annotations

import json
import logging
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from celery_legion.clock import EPOCH, from_ms, to_ms
from celery_legion.run import Kind, Record, State
from celery_legion.stores.base import Pause
from celery_legion.stores.redis.unreadable import UNREADABLE, report, text_of


def moment(text: str | int | None) -> datetime | None:
    """Return the moment of a field of milliseconds, None for a missing or empty one."""
    return None if text is None or text == "" else from_ms(int(text))


def number(text: str | int | None) -> int:
    """Return the number of a field that nothing hangs on, 0 for one that is none."""
    try:
        return int(text or 0)
    except ValueError:
        return 0


def pack(output: str | None) -> str:
    """Return what a run wrote as it is stored: compressed where that is shorter; empty for nothing."""
    if not output:
        return ""
    packed = b64encode(zlib.compress(output.encode("utf-8", "replace"))).decode()
    return f"z{packed}" if len(packed) < len(output) else f"t{output}"


def unpack(stored: str | None) -> str | None:
    """Return what :func:`pack` has packed, None for nothing."""
    if not stored:
        return None
    if stored[0] == "t":
        return stored[1:]
    try:
        return zlib.decompress(b64decode(stored[1:])).decode("utf-8", "replace")
    except (ValueError, zlib.error):
        return None


def read_debt(job: str, text: str, exit_code: str = "", output: str = "") -> Record:
    """Return the record of an ending that hooks are owed for: of a run with what was added since, or of a lapse."""
    run = json.loads(text)
    if "id" not in run:
        return read_lapse(job, text)[1]
    added = {name: value for name, value in (("exit", exit_code), ("output", output)) if value}
    flat = [text_of(str(item)) for pair in {**run, **added}.items() for item in pair]
    record = read_run(text_of(run["id"]), flat)
    assert record is not None
    return record


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
        output=unpack(run.get("output")),
        scheduler=run.get("scheduler") or None,
        previous_success=moment(run.get("previous")),
        hook_error=run.get("hook_error") or None,
        retry_at=moment(run.get("retry")),
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
        reason=text_of(data["reason"]),
        count=int(data["count"]),
        claimed_at=moment(data.get("since")),
        ended_at=at,
        scheduler=text_of(data.get("scheduler") or "") or None,
    )


def read_item(job: str, item: Any) -> tuple[datetime, Record] | None:
    """Return one item of a ledger with its time of writing: a lapse, or ``[id, flat run]``."""
    if isinstance(item, str):
        return read_lapse(job, item)
    record = read_run(item[0], item[1])
    if record is None or record.claimed_at is None:
        return None
    return record.claimed_at, record


def write_pause(pause: Pause) -> str:
    """Return a pause as JSON. Halves of surrogate pairs are not escaped: the client makes question marks of them."""
    until = None if pause.until is None else to_ms(pause.until)
    return json.dumps({"since": to_ms(pause.since), "until": until, "note": pause.note}, ensure_ascii=False)


def read_pause(key: str, name: str, text: str) -> Pause:
    """Return a pause from its JSON, which lies at *key*.

    That it lies there is what pauses: what a run does cannot be undone, and one that was skipped is on record. So one
    that cannot be read pauses until it is lifted.
    """
    try:
        data = json.loads(text)
        since, until = from_ms(int(data["since"])), moment(data.get("until"))
        return Pause(name=name, since=since, until=until, note=text_of(data.get("note") or ""))
    except UNREADABLE as exc:
        problem = f"is a pause that cannot be read ({type(exc).__name__}) and pauses all the same"
        report(key, name, f"{problem}; `celery legion resume` lifts it", logging.ERROR)
        return Pause(name=name, since=EPOCH, note="it cannot be read")
