"""What becomes of a job's due fires: pure decisions, no clock, no store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from hashlib import sha1

from celery_legion.job import Between, CatchUp, Condition, Job
from celery_legion.run import Reason, State
from celery_legion.triggers import Trigger
from celery_legion.triggers.zones import get_zone

SLICE = 1000
"""Most fires that one plan accounts for, so that a month of backlog never blocks a pass."""

NextAfter = Callable[[Trigger, datetime], datetime | None]
"""``next_after`` of a trigger, through the engine's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """Consecutive fires that become no run, for one reason."""

    state: State
    reason: str
    first: datetime
    last: datetime
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to claim for one job: ``missed`` fires first, then ``runs``.

    ``until`` is the last fire accounted for (the new mark), ``next`` the one after it; it may
    be due already when the backlog was longer than one slice.
    """

    until: datetime
    runs: tuple[datetime, ...] = ()
    missed: tuple[Missed, ...] = ()
    next: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The settings that decide where a job's policy does not."""

    catch_up: CatchUp = CatchUp.ONCE
    window: timedelta = timedelta(days=1)
    grace: timedelta = timedelta(seconds=60)


def trigger_print(trigger: Trigger) -> str:
    """Return a short text that changes when the trigger does."""
    return sha1(repr(trigger).encode(), usedforsecurity=False).hexdigest()[:12]


def plan(
    job: Job,
    trigger: Trigger,
    first: datetime,
    now: datetime,
    *,
    rules: Rules,
    paused: bool = False,
    judge: Callable[[Job, datetime], str | None],
    next_after: NextAfter,
) -> Plan:
    """Decide about the fires of *job* from *first*, which is due, up to *now*.

    *trigger* is the job's trigger with its anchor. *judge* says why a fire that would run must not
    (a reason) or returns None; it is asked for that fire alone.
    """
    due = [first]
    following = next_after(trigger, first)
    while following is not None and following <= now and len(due) < SLICE:
        due.append(following)
        following = next_after(trigger, following)
    backlog = following is not None and following <= now

    if paused:
        return _plan(due, following, (), [(due, State.SKIPPED, Reason.PAUSED)])
    mode = job.policy.catch_up or rules.catch_up
    window = job.policy.catch_up_window or rules.window
    deadlines = [span for span in (job.policy.send_deadline, job.policy.start_deadline) if span is not None]
    deadline = min(deadlines, default=None)
    wanted, missed = _catch_up(due, backlog, now, mode, window, job.policy.catch_up_limit, rules.grace)
    runs = []
    for fire in wanted:
        if deadline is not None and fire + deadline < now:
            missed.append(([fire], State.MISSED, Reason.PAST_DEADLINE))
            continue
        reason = judge(job, fire)
        if reason is None:
            runs.append(fire)
        else:
            missed.append(([fire], State.SKIPPED, reason))
    return _plan(due, following, tuple(runs), missed)


def plan_one(job: Job, fire: datetime, *, paused: bool = False, judge: Callable[[Job, datetime], str | None]) -> Plan:
    """Decide about the one fire of a job whose schedule has just said that it is due."""
    reason = Reason.PAUSED if paused else judge(job, fire)
    if reason is None:
        return Plan(until=fire, runs=(fire,))
    return _plan([fire], None, (), [([fire], State.SKIPPED, reason)])


_Lapses = list[tuple[list[datetime], State, str]]


def _catch_up(
    due: list[datetime],
    backlog: bool,
    now: datetime,
    mode: CatchUp,
    window: timedelta,
    limit: int,
    grace: timedelta,
) -> tuple[list[datetime], _Lapses]:
    if mode is CatchUp.ALL:
        recent = [fire for fire in due if now - fire <= window]
        old = due[: len(due) - len(recent)]
        # A longer backlog has more than `limit` fires after these, unless the limit is larger than a slice.
        keep = min(limit, len(recent)) if not backlog else max(0, limit - SLICE)
        dropped, wanted = recent[: len(recent) - keep], recent[len(recent) - keep :]
        return wanted, _lapses((old, State.MISSED, Reason.CATCH_UP), (dropped, State.MISSED, Reason.LIMIT))
    latest = due[-1]
    patience = window if mode is CatchUp.ONCE else grace
    if backlog or now - latest > patience:
        return [], _lapses((due, State.MISSED, Reason.CATCH_UP))
    return [latest], _lapses((due[:-1], State.MISSED, Reason.CATCH_UP))


def _lapses(*lapses: tuple[list[datetime], State, str]) -> _Lapses:
    return [lapse for lapse in lapses if lapse[0]]


def _plan(due: list[datetime], following: datetime | None, runs: tuple[datetime, ...], missed: _Lapses) -> Plan:
    return Plan(
        until=due[-1],
        runs=runs,
        missed=tuple(
            Missed(state=state, reason=str(reason), first=fires[0], last=fires[-1], count=len(fires))
            for fires, state, reason in missed
        ),
        next=following,
    )


def within(window: Between, moment: datetime) -> bool:
    """Return whether *moment* lies in the daily window (or outside it, where the window says so).

    A window whose end is not after its start runs past midnight.
    """
    at: time = moment.astimezone(get_zone(window.timezone)).time()
    after, before = window.start <= at, at < window.end
    inside = after and before if window.start < window.end else after or before
    return inside is window.inside


def judge(job: Job, fire: datetime) -> str | None:
    """Return why a fire of *job* must not run by its own conditions, or None.

    A predicate that returns a string gives the reason in words; other refusals read ``condition:`` and which it was.
    Exceptions of predicates are the caller's.
    """
    policy = job.policy
    for window in policy.between:
        if not within(window, fire):
            verb = "between" if window.inside else "unless_between"
            return f"{Reason.CONDITION}: {verb} {window.start:%H:%M} and {window.end:%H:%M} {window.timezone}"
    for predicate in policy.when:
        if not predicate():
            return f"{Reason.CONDITION}: when {_called(predicate)}"
    for predicate in policy.skip:
        answer = predicate()
        if answer:
            return answer if isinstance(answer, str) else f"{Reason.CONDITION}: skip {_called(predicate)}"
    return None


def _called(predicate: Condition) -> str:
    """Return what a predicate is called, without the module it is in."""
    name = getattr(predicate, "__qualname__", None) or type(predicate).__qualname__
    return str(name).rpartition("<locals>.")[2]
