"""The dispatcher: from due fires and pushes to claims, and from granted claims to messages known to be sent."""

from __future__ import annotations

import logging
import os
import socket
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar
from uuid import uuid4

from celery_legion.clock import MILLISECOND, from_ms
from celery_legion.context import Context
from celery_legion.control import error_in_line, in_line
from celery_legion.engine.agenda import Agenda, Standing
from celery_legion.engine.claims import Asked, Claims
from celery_legion.engine.debts import Debts
from celery_legion.engine.delivery import Delivery
from celery_legion.engine.journal import Journal
from celery_legion.engine.planning import Planning
from celery_legion.engine.publisher import Publisher, Send
from celery_legion.engine.servers import place_of
from celery_legion.engine.strangers import Strangers
from celery_legion.job import Job
from celery_legion.planner import Rules, trigger_print
from celery_legion.push import PushError
from celery_legion.stores.base import CLAIM_LIMIT, Granted, Request, SchedulerInfo, Sight, Verdict

logger = logging.getLogger(__name__)

T = TypeVar("T")

SIGHT_LIMIT = 500
REAP_LIMIT = 200
INBOX_LIMIT = 100


class DeposedError(Exception):
    """Another scheduler leads by now; what was to be claimed is its to claim."""


class Dispatcher:
    """What a leading scheduler and a one-shot have in common: the one path from a job to its message.

    *send* sends one dispatch through a producer; it is the scheduler's ``apply_entry``.
    """

    def __init__(self, context: Context, send: Send) -> None:
        self.context = context
        self.config = context.config
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self.jobs: Mapping[str, Job] = {}
        self.agenda = Agenda()
        self._told: dict[str, str] = {}
        window = self.config.catch_up_window
        self.claims = Claims(context.app, self.config, context.enabled, context.registry.hooks_of)
        publisher = Publisher(context.app, self.config.broker_timeout, context.clock.monotonic)
        self.delivery = Delivery(
            lambda: context.store,
            publisher,
            send,
            retention=context.store_options.retention,
            patience=window,
            lost_after=self.config.run_lease,
            strangers=Strangers(
                publisher.consumers,
                lambda: context.store.workers(),
                context.clock.monotonic,
                count=publisher.count_consumers,
            ),
            monotonic=context.clock.monotonic,
        )
        self.debts = Debts(lambda: context.store, publisher, send, self._queue_of)
        rules = Rules(catch_up=self.config.catch_up, window=window, grace=self.config.late_after)
        self.planning = Planning(rules, self.agenda)
        self._journal = Journal(self.config.late_after)

    def introduce(self) -> SchedulerInfo:
        """Return what this scheduler says of itself."""
        return SchedulerInfo(
            app=str(self.context.app.main or ""),
            fingerprint=self.context.registry.fingerprint(),
            host=socket.gethostname(),
            pid=os.getpid(),
            guarded=self.context.enabled,
            place=place_of(self.context.app),
        )

    def load(self, jobs: Mapping[str, Job], mark: datetime, wanted: Callable[[Job], bool] = lambda _: True) -> None:
        """Start over with *jobs*, and with those on the agenda that are *wanted*.

        Those that the store sees for the first time have *mark* as theirs.
        """
        self.jobs = jobs
        self.tell_problems(jobs)
        prints_of = dict(self._prints(job for job in jobs.values() if job.enabled and not job.problem and wanted(job)))
        enabled = [jobs[name] for name in prints_of]
        sights: dict[str, Sight] = {}
        for some in chunks(enabled, SIGHT_LIMIT):
            prints = {job.name: prints_of[job.name] for job in some}
            sights.update(self._known_better(self.context.store.sight(prints, mark)))
        self.planning.pauses = self.context.store.pauses()
        self.agenda.load(enabled, sights)
        for name, problem in self.agenda.broken.items():
            logger.error("job %s has no next fire: %s", in_line(name), problem)

    def tell_problems(self, jobs: Mapping[str, Job]) -> None:
        """Log, once for each, which jobs are written wrongly and left out."""
        for job in jobs.values():
            if job.problem and self._told.get(job.name) != job.problem:
                self._told[job.name] = job.problem
                text = "job %s is left out, the others run: %s"
                logger.error(text, in_line(job.name), in_line(job.problem))

    def _prints(self, jobs: Iterable[Job]) -> Iterator[tuple[str, str]]:
        """Yield each job's name and its trigger's print; a user's trigger that cannot even be shown is left out."""
        for job in jobs:
            try:
                print_ = trigger_print(job.trigger)
            except Exception as exc:
                text = "job %s is left out: its trigger cannot be shown (%s)"
                logger.error(text, in_line(job.name), error_in_line(exc))
                continue
            yield job.name, print_

    def tell_marks(self) -> None:
        """Tell a store that has lost what it knew where all jobs stand on the agenda."""
        if standings := list(self.agenda.standings.values()):
            logger.warning("the store has lost what it knew; it is told where %d jobs stand", len(standings))
            self._tell(standings)

    def tell_pauses(self, now: datetime) -> None:
        """Tell a store that has lost what it knew which jobs are paused at *now*."""
        known = self.context.store.pauses()
        for name, pause in self.planning.pauses.items():
            if name not in known and (pause.until is None or pause.until > now):
                logger.warning("the store has lost that %s is paused; it is told again", in_line(name))
                self.context.store.pause(pause)

    def tell_floor(self, floor: datetime) -> None:
        """Tell a store that has lost what it knew that all fires up to *floor* were another's to claim."""
        for some in chunks([job.name for job in self.jobs.values() if job.enabled], SIGHT_LIMIT):
            behind = self.context.store.remind(dict.fromkeys(some, floor))
            if behind:
                text = "the store has lost the marks of %d jobs; their fires up to %s are taken for sent"
                logger.warning(text, len(behind), floor.isoformat(timespec="seconds"))

    def claim_due(self, due: Sequence[Standing], now: datetime, epoch: int | None) -> int:
        """Claim what is due of these standings and send it; return how many runs were claimed.

        Raises:
            DeposedError: This scheduler leads no more at *epoch*.
        """
        asked: list[tuple[Asked, Standing]] = []
        claimed = 0
        first = began = self.context.clock.monotonic()

        def moment() -> datetime:
            return now + timedelta(seconds=self.context.clock.monotonic() - first)

        for number, standing in enumerate(due):
            if not asked and self._is_slow(began):
                # Schedules that were slow to say no have extended no lead: the next pass does, and goes on from here.
                for left in due[number:]:
                    self.agenda.settle(left, left.mark)
                break
            try:
                made = list(self._plan(standing, now, moment))
            except Exception:
                logger.exception(
                    "job %s cannot be planned; it is left out until the schedule is loaded again", standing.job.name
                )
                continue
            asked += [(one, standing) for one in made]
            if not made:
                self.agenda.settle(standing, standing.mark)
            if asked and self._is_slow(began):
                claimed += self._claim_planned(asked, now, epoch)
                asked, began = [], self.context.clock.monotonic()
        return claimed + self._claim_planned(asked, now, epoch)

    def _plan(self, standing: Standing, now: datetime, moment: Callable[[], datetime]) -> Iterator[Asked]:
        """Yield the claims of what is due of a standing; none if its schedule says that it is not."""
        job = standing.job
        if not standing.asked:
            yield from self.claims.of_plan(job, standing.mark, self.planning.plan(standing, now), now)
        elif (plan := self.planning.ask(standing, moment)) is not None:
            yield from self.claims.of_plan(job, standing.mark, plan, now, self.agenda.asking.note(job.name))

    def _is_slow(self, began: float) -> bool:
        """Whether it is time to claim, which extends the lead: conditions and lazy arguments are a user's code."""
        return self.context.clock.monotonic() - began > self.config.leader_lease.total_seconds() / 3

    def _claim_planned(self, asked: Sequence[tuple[Asked, Standing]], now: datetime, epoch: int | None) -> int:
        """Claim and send what was planned, and settle its standings; returns how many runs were claimed."""
        marks: dict[str, datetime | None] = {}
        claimed = 0
        for some in chunks(asked, CLAIM_LIMIT):
            verdicts = self.claim([one for one, _ in some], epoch, now)
            for (one, standing), verdict in zip(some, verdicts, strict=True):
                claimed += verdict.granted is Granted.RUN
                marks[standing.job.name] = one.claim.fire_time
                if verdict.granted is Granted.STALE:
                    # A mark only moves up: one behind ours is that of a store that has lost what it had answered.
                    behind = verdict.mark is None or verdict.mark < standing.mark
                    marks[standing.job.name] = None if behind else verdict.mark
                if verdict.granted is Granted.DEPOSED:
                    raise DeposedError
        forgotten: list[Standing] = []
        for standing in dict.fromkeys(standing for _, standing in asked):
            if (mark := marks.get(standing.job.name)) is not None:
                self.agenda.settle(standing, mark)
            else:
                forgotten.append(standing)
        if forgotten:
            self._remind(forgotten)
        return claimed

    def claim_pushes(self, requests: Sequence[Request], now: datetime, epoch: int | None) -> int:
        """Claim what the inbox asks for and send it; what cannot be handled is put aside with its reason.

        Returns how many runs were claimed.

        Raises:
            DeposedError: This scheduler leads no more at *epoch*; the requests stay in the inbox.
        """
        first: dict[str, Request] = {}
        for request in requests:
            # Other programs may have put one in twice.
            first.setdefault(request.id, request)
        claimed = 0
        asked: list[Asked] = []
        refused: list[tuple[str, str]] = []
        began = self.context.clock.monotonic()
        for request in first.values():
            try:
                asked.append(self.claims.of_push(request, self.jobs, whole_ms(now)))
            except PushError as exc:
                refused.append((request.id, exc.problem))
            except Exception as exc:
                # Whatever it is that this one trips over, due fires and other pushes must not wait for it.
                logger.exception("push %s cannot be handled", in_line(request.id))
                refused.append((request.id, error_in_line(exc)))
            if self._is_slow(began):
                claimed += self._claim_pushed(asked, now, epoch)
                asked, began = [], self.context.clock.monotonic()
        claimed += self._claim_pushed(asked, now, epoch)
        for request_id, problem in refused:
            logger.error("push %s is put aside: %s", in_line(request_id), in_line(problem))
            self.context.store.put_aside(request_id, problem)
        return claimed

    def _claim_pushed(self, asked: Sequence[Asked], now: datetime, epoch: int | None) -> int:
        verdicts = self.claim(asked, epoch, now)
        if any(verdict.granted is Granted.DEPOSED for verdict in verdicts):
            raise DeposedError
        if asked:
            self.context.store.ack([one.claim.run_id or "" for one in asked])
        return sum(verdict.granted is Granted.RUN for verdict in verdicts)

    def claim(self, asked: Sequence[Asked], epoch: int | None, now: datetime) -> list[Verdict]:
        """Claim, then publish and confirm what was granted; returns the verdicts, in order."""
        if not asked:
            return []
        verdicts = self.context.store.claim([one.claim for one in asked], self.owner, epoch, self.config.leader_lease)
        granted = []
        for one, verdict in zip(asked, verdicts, strict=True):
            self._journal.write(one, verdict, now)
            if verdict.granted is Granted.RUN and one.dispatch is not None:
                if one.error is not None:
                    self.delivery.refuse(one.dispatch, one.error)
                else:
                    granted.append(one.dispatch)
        self.delivery.deliver(granted)
        return verdicts

    def send_again(self, now: datetime, older_than: timedelta, *, lost: bool = True) -> None:
        """See :meth:`.Delivery.send_again`."""
        self.delivery.send_again(now, older_than, self.jobs, self.claims, lost=lost)

    def send_hooks(self) -> None:
        """Send hooks that are owed to the workers."""
        self.delivery.attempt(self.debts.send)

    def reap(self) -> None:
        """End what nobody else will."""
        for record in self.context.store.reap(REAP_LIMIT):
            run, job, reason = in_line(record.id), in_line(record.job), in_line(record.reason)
            logger.error("run %s of %s ended as %s (%s)", run, job, record.state.value, reason)

    def _known_better(self, sights: dict[str, Sight]) -> dict[str, Sight]:
        """Return *sights* with the marks that this scheduler knows to be newer, and tell the store of them.

        A mark only moves up; one that is behind what was answered before is that of a store that has lost its last
        moments. Its fires have runs that it knows nothing of.
        """
        known = self.agenda.standings
        behind = {
            name: known[name].mark for name, sight in sights.items() if name in known and sight.mark < known[name].mark
        }
        if not behind:
            return sights
        logger.warning("the store has gone back behind the marks of %d jobs; it is told them again", len(behind))
        self.context.store.remind(behind)
        return {name: replace(sight, mark=behind[name]) if name in behind else sight for name, sight in sights.items()}

    def _remind(self, standings: Sequence[Standing]) -> None:
        """Tell a store that has lost its marks where these jobs stood: no fire is lost or doubled with them."""
        logger.warning("the store has lost the marks of %d jobs; it is told them again", len(standings))
        self._tell(standings)
        for standing in standings:
            self.agenda.settle(standing, standing.mark)

    def _tell(self, standings: Sequence[Standing]) -> None:
        anchors: dict[datetime, list[Standing]] = defaultdict(list)
        # First the marks, which others may be waiting for.
        for some in chunks(standings, SIGHT_LIMIT):
            self.context.store.remind({one.job.name: one.mark for one in some})
            for one in some:
                anchors[one.anchor].append(one)
        for anchor, those in anchors.items():
            for some in chunks(those, SIGHT_LIMIT):
                # A job that has a mark gets none by sight, and one without an anchor gets this one.
                self.context.store.sight({one.job.name: trigger_print(one.job.trigger) for one in some}, anchor)

    def _queue_of(self, name: str) -> str | None:
        job = self.jobs.get(name)
        return None if job is None else self.claims.queue(job)


def whole_ms(moment: datetime) -> datetime:
    """Return *moment* cut to milliseconds: a fire's identity has no finer ones."""
    return from_ms((moment - from_ms(0)) // MILLISECOND)


def chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """Yield *items* in lists of at most *size*."""
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some
