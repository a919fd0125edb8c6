"""What a pool process tells its worker of a run, mostly to be written to the store, as data that survives a pipe."""

from __future__ import annotations

import json
import select
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from celery_legion.clock import from_ms, span_ms, to_ms
from celery_legion.run import State
from celery_legion.stores.base import Outcome, Retention, Store

ERROR_LIMIT = 1000
"""Characters of an error's text that a record keeps; the log has the rest."""

LINE_LIMIT = min(4096, select.PIPE_BUF)
"""Longest dump: what a pipe takes as one piece, 512 bytes on some systems."""


@dataclass(frozen=True, slots=True)
class End:
    """That a run ended."""

    run_id: str
    token: int
    outcome: Outcome

    def apply(self, store: Store, retention: Retention) -> bool:
        """Write it; False if the run had ended or begun anew, which is no error."""
        return store.end(self.run_id, self.token, self.outcome, retention)


@dataclass(frozen=True, slots=True)
class Park:
    """That a run waits for a message, a retry's or its own delivered again, which will carry *retries*."""

    run_id: str
    token: int
    until: datetime
    retries: int

    def apply(self, store: Store, retention: Retention) -> bool:
        """Write it; False if the run had ended or begun anew, which is no error."""
        return store.park(self.run_id, self.token, self.until, self.retries)


@dataclass(frozen=True, slots=True)
class Leave:
    """That nothing of a run is executed any more, whoever records its end."""

    run_id: str
    token: int
    exit_code: int | None
    output: str | None

    def apply(self, store: Store, retention: Retention) -> bool:
        """Write it; False if the run has begun anew, which is no error."""
        return store.leave(self.run_id, self.token, self.exit_code, self.output)


@dataclass(frozen=True, slots=True)
class Paid:
    """That the hooks of a debt have run."""

    debt: str
    error: str | None

    @property
    def run_id(self) -> str:
        """What it is about."""
        return self.debt

    def apply(self, store: Store, retention: Retention) -> bool:
        """Write it; False if another process has paid meanwhile."""
        return store.hooked(self.debt, self.error)


@dataclass(frozen=True, slots=True)
class Launch:
    """That a run's command has been launched: its shim, and its leading process."""

    run_id: str
    token: int
    shim: int
    pid: int


Act = End | Park | Leave | Paid
News = Act | Launch


def describe(error: BaseException) -> str:
    """Return *error* as one bounded line."""
    try:
        text = str(error)
    except Exception:
        text = "<its text cannot be made>"
    return f"{type(error).__name__}: {text}".rstrip(": ")[:ERROR_LIMIT]


def dump(act: News) -> bytes:
    """Return *act* as one line of at most :data:`LINE_LIMIT` bytes; an error that is too long for it is cut."""
    line = _dump(act)
    for most in (ERROR_LIMIT, 200, 30, 0):
        if len(line) <= LINE_LIMIT:
            break
        line = _dump(_cut(act, most))
    return line


def _cut(act: News, most: int) -> News:
    """Return *act* without its output, and with *most* characters of each error."""
    if isinstance(act, End):
        outcome = act.outcome
        error, hook_error = ((text or "")[:most] or None for text in (outcome.error, outcome.hook_error))
        return replace(act, outcome=replace(outcome, error=error, hook_error=hook_error, output=None))
    if isinstance(act, Leave):
        return replace(act, output=None)
    return replace(act, error=(act.error or "")[:most] or None) if isinstance(act, Paid) else act


def _dump(act: News) -> bytes:
    if isinstance(act, Paid):
        return json.dumps({"paid": act.debt, "error": act.error}, separators=(",", ":")).encode() + b"\n"
    data: dict[str, Any] = {"id": act.run_id, "token": act.token}
    if isinstance(act, Park):
        data["park"] = {"until": to_ms(act.until), "retries": act.retries}
    elif isinstance(act, Leave):
        data["leave"] = {"exit": act.exit_code, "output": act.output}
    elif isinstance(act, Launch):
        data["launch"] = {"shim": act.shim, "pid": act.pid}
    else:
        outcome = act.outcome
        data["end"] = {
            "state": outcome.state.value,
            "reason": outcome.reason,
            "started": _ms(outcome.started_at),
            "ended": _ms(outcome.ended_at),
            "pid": outcome.pid,
            "exit": outcome.exit_code,
            "error": outcome.error,
            "output": outcome.output,
            "hook_error": outcome.hook_error,
            "dying": span_ms(outcome.dying),
        }
    return json.dumps(data, separators=(",", ":")).encode() + b"\n"


def load(line: bytes) -> News:
    """Read what was dumped.

    Raises:
        ValueError: It is none.
    """
    try:
        data = json.loads(line)
        if "paid" in data:
            return Paid(data["paid"], data["error"])
        if "park" in data:
            park = data["park"]
            return Park(data["id"], data["token"], from_ms(park["until"]), park["retries"])
        if "leave" in data:
            return Leave(data["id"], data["token"], data["leave"]["exit"], data["leave"]["output"])
        if "launch" in data:
            return Launch(data["id"], data["token"], data["launch"]["shim"], data["launch"]["pid"])
        end = data["end"]
        outcome = Outcome(
            state=State(end["state"]),
            reason=end["reason"],
            started_at=_moment(end["started"]),
            ended_at=_moment(end["ended"]),
            pid=end["pid"],
            exit_code=end["exit"],
            error=end["error"],
            output=end["output"],
            hook_error=end["hook_error"],
            dying=timedelta(milliseconds=end["dying"]),
        )
        return End(data["id"], data["token"], outcome)
    except (KeyError, TypeError) as exc:
        raise ValueError(f"no act: {line[:80]!r}") from exc


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else to_ms(moment)


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else from_ms(ms)
