"""Interruption: asking for the end of runs, and waiting for what comes of it."""

from __future__ import annotations

import logging
import signal as signals
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from celery_legion.context import Context
from celery_legion.duration import Duration, parse_duration
from celery_legion.errors import AmbiguousTargetError, LegionError, StoreUnavailableError
from celery_legion.lookup import find_run, is_over, runs_of, unknown_run
from celery_legion.run import Reason, Record

logger = logging.getLogger(__name__)

GRACE = timedelta(seconds=5)
PATIENCE = timedelta(seconds=15)
"""How long a worker may take beyond its next renewal and the grace."""

UNHEARD = "it was sent to a worker without Legion(app), and nobody can say whether it runs"

POLL = 0.1
ANSWERS_WITHIN = 1.0
"""Seconds for which workers are waited for that are asked what they execute."""

DIGITS = 10
"""Most digits of a process id."""


class Verdict(StrEnum):
    """What came of asking for the end of a run. NOT_YET: it goes on, and ends when its worker hears of it."""

    ENDED = "ended"
    NOT_RUNNING = "not running"
    REFUSED = "cannot be terminated"
    NOT_YET = "not ended yet"


@dataclass(frozen=True, slots=True)
class Interrupted:
    """One run that was asked to end: its record as it stands, and why it cannot be terminated if it cannot."""

    verdict: Verdict
    record: Record
    why: str | None = None


class SignalError(LegionError, ValueError):
    """A value names no signal."""

    def __init__(self, got: object) -> None:
        super().__init__(got)
        self.got = got

    def __str__(self) -> str:
        return f"{self.got!r} is no signal; write one such as TERM, INT, KILL or 15"


def parse_signal(value: int | str) -> int:
    """Return the number of a signal: ``15``, ``"TERM"`` or ``"SIGTERM"``.

    Raises:
        SignalError: It is none.
    """
    text = str(value).upper()
    try:
        number = int(text) if text.isdigit() else signals.Signals["SIG" + text.removeprefix("SIG")]
        return signals.Signals(number).value
    except (KeyError, ValueError):
        raise SignalError(value) from None


def interrupt(
    context: Context,
    target: str,
    *,
    signal: int | str = signals.SIGTERM,
    grace: Duration = GRACE,
    wait: Duration | None = None,
    asked: Callable[[Sequence[Record]], object] = lambda _: None,
) -> list[Interrupted]:
    """Ask for the end of a run, of all open runs of a job, or of the run of a process, and wait for it.

    What has not begun ends at once. What runs is ended by its worker: with *signal*, and with SIGKILL after *grace*.
    Waits until each has ended or cannot be terminated, at most for *wait* (by default the time to the worker's
    next renewal, the grace, and a while); *asked* is called before with the runs that are waited for. An
    interruption stays asked for, also when the worker is away: it arrives when the worker is back.

    Raises:
        UnknownRunError: No job, run or process of a run is called so.
        AmbiguousTargetError: A process id means several runs.
        SignalError: It names no signal.
        DurationError: Grace or wait is none.
        StoreUnavailableError: The store does not answer, also after the runs were asked to end.
    """
    number, span = parse_signal(signal), parse_duration(grace)
    patience = context.config.run_lease / 3 + span + PATIENCE if wait is None else parse_duration(wait)
    records = find_runs(context, target)
    results: list[Interrupted] = []
    open_runs: list[Record] = []
    for record in records:
        if record.reason == Reason.UNWATCHED:
            results.append(Interrupted(Verdict.REFUSED, record, UNHEARD))
            continue
        if is_over(record):
            results.append(Interrupted(Verdict.NOT_RUNNING, record))
            continue
        after = context.store.interrupt(record.id or "", number, span) or record
        if is_over(after):
            results.append(Interrupted(Verdict.ENDED, after))
        else:
            open_runs.append(after)
    if open_runs:
        asked(open_runs)
        results += _await(context, open_runs, patience)
    return results


def find_runs(context: Context, target: str) -> list[Record]:
    """Return the runs that *target* means: one by its id or the beginning of it, a job's open ones or its last, or a
    process's.

    Raises:
        UnknownRunError: There is none.
        AmbiguousTargetError: Several runs are executed by processes of that number, in a pool of threads or on several
            machines.
    """
    record = find_run(context, target)
    if record is not None:
        return [record]
    if records := runs_of(context, target):
        return records
    if target.isascii() and target.isdigit() and len(target) <= DIGITS:
        found = _by_process(context, int(target))
        if len(found) > 1:
            raise AmbiguousTargetError(target, [f"{one.id} of {one.job} on {one.worker}" for one in found])
        if found:
            return found
    raise unknown_run(context, target)


def _by_process(context: Context, pid: int) -> list[Record]:
    """Return the runs of a process: a command's leader, or one of a pool."""

    def executed() -> list[Record]:
        return [record for record in context.store.running() if record.pid == pid]

    records = executed()
    if not records and any(record.pid is None for record in context.store.running()):
        # Of a run that has just begun the store does not know the process yet; its worker does.
        context.store.hurry()
        deadline = time.monotonic() + ANSWERS_WITHIN
        while not records and time.monotonic() < deadline:
            time.sleep(POLL)
            records = executed()
    return records


def _await(context: Context, records: Sequence[Record], patience: timedelta) -> list[Interrupted]:
    left = {record.id or "": record for record in records}
    results = []
    deadline = time.monotonic() + patience.total_seconds()
    while left:
        for run_id in list(left):
            result = _look(context, run_id, left[run_id])
            left[run_id] = result.record
            if result.verdict is not Verdict.NOT_YET:
                results.append(result)
                del left[run_id]
        if not left or time.monotonic() >= deadline:
            break
        time.sleep(POLL)
    return results + [Interrupted(Verdict.NOT_YET, record) for record in left.values()]


def _look(context: Context, run_id: str, known: Record) -> Interrupted:
    try:
        record = context.store.get(run_id) or known
        asked = None if is_over(record) else context.store.interruption(run_id)
    except StoreUnavailableError as exc:
        logger.warning("%s", exc)
        return Interrupted(Verdict.NOT_YET, known)
    if is_over(record):
        return Interrupted(Verdict.ENDED, record)
    if asked is not None and asked.refused is not None:
        return Interrupted(Verdict.REFUSED, record, asked.refused)
    return Interrupted(Verdict.NOT_YET, record)
