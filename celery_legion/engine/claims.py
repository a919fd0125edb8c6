"""From plans and pushes to claims: which run is asked for, with which message."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from celery_legion.codec import CodecError, Message, decode, encode, evaluate
from celery_legion.config import Config
from celery_legion.control import error_in_line, in_line
from celery_legion.engine.dispatch import Dispatch
from celery_legion.engine.fanout import fanout_of
from celery_legion.header import Header
from celery_legion.hook import Hooks
from celery_legion.interop import celery_schedule
from celery_legion.job import Job, Overlap
from celery_legion.planner import Plan
from celery_legion.push import check_push, read_push
from celery_legion.run import Kind, State, run_id
from celery_legion.stores.base import Claim, Lapse, Request, Unsent

logger = logging.getLogger(__name__)

EXPIRY_GRACE = timedelta(seconds=5)
"""How long after a message's expiry its worker may still say that it has expired."""

LAST_EXPIRY = datetime.max.replace(tzinfo=UTC) - timedelta(days=2)
"""Later ones have no grace on the calendar, in any zone."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a job's messages go: the *queue*, None if a router does not say; whether they *jump* it by a priority.

    *fanout* names the exchange that gives every worker a copy; then each executes the run, and none guards it.
    """

    queue: str | None
    jumps: bool
    fanout: str | None = None


@dataclass(slots=True, kw_only=True)
class Asked:
    """A claim, and what is dispatched if it is granted (None when it only writes lapses)."""

    claim: Claim
    dispatch: Dispatch | None = None
    error: Exception | None = None


class Claims:
    """Builds the claims of one app's jobs. ``guarded`` False: no worker reports, so nothing is locked or watched.

    *hooks_of* returns a job's hooks.
    """

    def __init__(self, app: Any, config: Config, guarded: bool, hooks_of: Callable[[Job], Hooks]) -> None:
        self._app = app
        self._config = config
        self._guarded = guarded
        self._hooks_of = hooks_of
        self._routes: dict[str, tuple[Job, Route]] = {}
        self._schedules: dict[str, tuple[Job, Any]] = {}

    def of_plan(self, job: Job, mark: datetime, plan: Plan, now: datetime, note: str = "") -> Iterator[Asked]:
        """Yield the claims of a plan in order: each expects the mark that the one before it leaves, and has *note*."""
        lapses = tuple(
            Lapse(state=missed.state, reason=missed.reason, first=missed.first, last=missed.last, count=missed.count)
            for missed in plan.missed
        )
        for fire in plan.runs:
            run = run_id(self._config.key_prefix, job.name, fire)
            asked = self._run(job, fire, mark, lapses, Kind.SCHEDULED, run, now)
            asked.claim = replace(asked.claim, note=note) if note else asked.claim
            yield asked
            mark, lapses = fire, ()
        if not plan.runs or plan.runs[-1] != plan.until:
            owes = self._owes(job)
            yield Asked(claim=Claim(job=job.name, fire_time=plan.until, mark=mark, lapses=lapses, owes=owes, note=note))

    def of_push(self, request: Request, jobs: Mapping[str, Job], now: datetime) -> Asked:
        """Return the claim of a push, with its arguments instead of the job's where it gives some.

        Raises:
            PushError: It cannot be read, names no job, or gives arguments to a command.
        """
        push = read_push(request.body)
        # Without a hint at names that are near: among many jobs looking for one takes a while, and the pass waits.
        job = check_push(push, jobs.get(push.job))
        given = replace(job, args=job.args if push.args is None else push.args, kwargs={**job.kwargs, **push.kwargs})
        return self._run(job, now, None, (), Kind.PUSHED, request.id, now, given=given)

    def of_order(self, job: Job, run: str, kind: Kind, now: datetime, *, unlocked: bool) -> Asked:
        """Return the claim of a run that someone asks for by hand; *unlocked* takes no lock."""
        free = replace(job, policy=replace(job.policy, overlap=Overlap.ALLOW)) if unlocked else job
        return self._run(free, now, None, (), kind, run, now)

    def again(self, unsent: Unsent, job: Job | None) -> Dispatch | None:
        """Return the dispatch of a run that was claimed and never confirmed: the same message under the same id.

        The message is the one kept with the claim; where it could not be kept, it is made anew
        from the job. None if there is neither.
        """
        message = None
        try:
            if unsent.message:
                message = decode(unsent.message)
        except CodecError as exc:
            run, job_name = in_line(unsent.id), in_line(unsent.job)
            logger.error("the message kept for run %s of %s cannot be read: %s", run, job_name, in_line(exc))
        if message is None:
            if job is None:
                return None
            message = evaluate(job, unsent.claimed_at)
        guarded = self._guarded if job is None else self._is_guarded(job)
        header = self._header(job, unsent.job, unsent.fire_time, unsent.kind) if guarded else None
        return Dispatch(
            run_id=unsent.id,
            job=unsent.job,
            message=message,
            header=header,
            schedule=self._schedule(job) if job else None,
            fire_time=unsent.fire_time,
            queue=unsent.queue,
        )

    def _run(
        self,
        job: Job,
        fire: datetime,
        mark: datetime | None,
        lapses: tuple[Lapse, ...],
        kind: Kind,
        run: str,
        now: datetime,
        given: Job | None = None,
    ) -> Asked:
        error: Exception | None = None
        try:
            message = evaluate(given or job, now)
        except Exception as exc:
            # A user's lazy argument failed: the fire is claimed all the same, so that it is accounted for.
            message, error = Message(task=job.action.task), exc
        try:
            kept = encode(message) if error is None else ""
        except Exception as exc:
            # Arguments may bring code of their own for this; making the message says what is wrong with them.
            logger.debug("the message of job %s cannot be kept: %s", in_line(job.name), error_in_line(exc))
            kept = ""
        deadline, route, guarded = _deadline(job, fire, message), self._route(job), self._is_guarded(job)
        claim = Claim(
            job=job.name,
            fire_time=fire,
            mark=mark,
            run_id=run,
            kind=kind,
            lapses=lapses,
            lock=job.lock,
            limit=job.policy.limit if guarded else 0,
            lock_ttl=self._lock_ttl(job),
            message=kept,
            deadline=deadline,
            queue=route.queue,
            jumps=route.jumps,
            eta=_eta(message),
            watched=guarded,
            owes=self._owes(job),
        )
        dispatch = Dispatch(
            run_id=run,
            job=job.name,
            message=message,
            header=self._header(job, job.name, fire, kind) if guarded else None,
            schedule=self._schedule(job),
            fire_time=fire,
            queue=route.queue,
        )
        return Asked(claim=claim, dispatch=dispatch, error=error)

    def _lock_ttl(self, job: Job) -> timedelta:
        return job.policy.lock_ttl if job.policy.lock_ttl is not None else self._config.lock_ttl

    def _header(self, job: Job | None, name: str, fire: datetime, kind: Kind) -> Header:
        return Header(
            job=name,
            fire_time=fire,
            kind=kind,
            lock=job.lock if job else name,
            limit=job.policy.limit if job else 1,
            lock_ttl=self._lock_ttl(job) if job else self._config.lock_ttl,
            owes=self._owes(job) if job else frozenset(),
            prefix=self._config.key_prefix,
        )

    def _owes(self, job: Job) -> frozenset[State]:
        return self._hooks_of(job).owes if self._guarded else frozenset()

    def _schedule(self, job: Job) -> Any:
        """Return Celery's schedule object for the job, made once."""
        made = self._schedules.get(job.name)
        if made is None or made[0] is not job:
            made = self._schedules[job.name] = (job, celery_schedule(job))
        return made[1]

    def queue(self, job: Job) -> str | None:
        """Return the name of the queue that the job's messages go to, None if a router does not say."""
        return self._route(job).queue

    def _is_guarded(self, job: Job) -> bool:
        return self._guarded and self._route(job).fanout is None

    def _route(self, job: Job) -> Route:
        known = self._routes.get(job.name)
        if known is None or known[0] is not job:
            options = self._routed(job)
            usual = self._app.conf.task_default_priority
            # A broker takes none for the lowest or highest that there is, 0.
            jumps = (options.get("priority") or 0) != (usual or 0)
            queue = _queue_of(options, str(self._app.conf.task_default_queue))
            known = (job, Route(queue, jumps, self._fanout_of(options)))
            self._routes[job.name] = known
            if self._guarded and known[1].fanout is not None:
                text = "job %s goes to every worker that listens to exchange %s; each executes it, so it has no lock, "
                text += "and its runs end as sent(unwatched)"
                logger.warning(text, in_line(job.name), in_line(known[1].fanout))
        return known[1]

    def _fanout_of(self, options: Mapping[str, Any]) -> str | None:
        """Return the name of the exchange that gives every worker a copy of what goes there, None if none does."""
        queue = options.get("queue")
        exchange = options.get("exchange") or getattr(queue, "exchange", None)
        try:
            found = fanout_of(self._app, exchange) if exchange else None
        except Exception as exc:
            logger.debug("no exchange is known for %s: %s", queue, error_in_line(exc))
            return None
        return None if found is None else str(found.name)

    def _routed(self, job: Job) -> Mapping[str, Any]:
        """Return the options with which Celery sends the job's messages, with an empty exchange where it cannot say."""
        options = dict(job.options) if job.queue is None else {**job.options, "queue": job.queue}
        try:
            task = self._app.tasks.get(job.action.task)
            usual = {} if task is None else task._get_exec_options()
            options = {**{name: value for name, value in usual.items() if value is not None}, **options}
            routed: Mapping[str, Any] = self._app.amqp.router.route(
                dict(options), job.action.task, job.args, dict(job.kwargs), task
            )
        except Exception as exc:
            logger.debug("no route is known for job %s: %s", in_line(job.name), error_in_line(exc))
            return {"exchange": "", **options}
        return routed


def _queue_of(options: Mapping[str, Any], default: str) -> str | None:
    if options.get("exchange") and options.get("routing_key"):
        # Celery publishes there, whatever the queue is called.
        return None
    queue = options.get("queue")
    if queue is None:
        return None if "exchange" in options else default
    return str(getattr(queue, "name", queue))


def _deadline(job: Job, fire: datetime, message: Message) -> datetime | None:
    """Return the latest moment to begin: the job's own, or a while after its message expires.

    A broker may drop an expired message without a word; then nobody but the reaper ends the run.
    """
    own = None if job.policy.start_deadline is None else fire + job.policy.start_deadline
    expires = message.options.get("expires")
    if not isinstance(expires, datetime) or expires.tzinfo is None:
        return own
    last = min(expires, LAST_EXPIRY) + EXPIRY_GRACE
    return last if own is None else min(own, last)


def _eta(message: Message) -> datetime | None:
    """Return when a message's countdown is over, None if it has none, or one that nobody can read."""
    eta = message.options.get("eta")
    if isinstance(eta, str):
        try:
            eta = datetime.fromisoformat(eta)
        except ValueError:
            return None
    if not isinstance(eta, datetime):
        return None
    # Celery's workers read one without a zone as UTC, whatever the app's zone.
    return eta if eta.tzinfo is not None else eta.replace(tzinfo=UTC)
