"""One scheduling pass: pulse → due → decide → claim → publish → confirm → reap."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar
from uuid import uuid4

from celery_legion.clock import MILLISECOND, from_ms
from celery_legion.context import Context
from celery_legion.engine.agenda import Agenda, Standing
from celery_legion.engine.claims import Asked, Claims, PushError
from celery_legion.engine.debts import Debts
from celery_legion.engine.delivery import Delivery
from celery_legion.engine.journal import Journal
from celery_legion.engine.planning import Planning
from celery_legion.engine.publisher import Publisher, Send
from celery_legion.errors import BrokerUnavailableError, ForeignLeaderError, LegionError, StoreError
from celery_legion.job import Job
from celery_legion.planner import Rules, trigger_print
from celery_legion.stores.base import CLAIM_LIMIT, Granted, Pulse, Request, SchedulerInfo, Sight, Verdict

logger = logging.getLogger(__name__)

T = TypeVar("T")

LONGEST_WAIT = 1.0
"""Seconds between two passes at most."""

ROUNDS = 10
"""Most claims in one pass: after 2 000 fires the lead is renewed and the inbox read."""

SIGHT_LIMIT = 500
INBOX_LIMIT = 100
REAP_EVERY, UNSENT_EVERY = 2.5, 5.0
REAP_LIMIT = 200
COMPLAIN_EVERY = 30.0
CLOSING = timedelta(milliseconds=300)
STUCK_AFTER = timedelta(seconds=5)
"""Age of an unconfirmed claim that is sent again while the broker is well: its scheduler is dead or cut off."""


class Engine:
    """The scheduling loop's body. Any number may run on one store; one leads, and the claim makes each fire single.

    *send* sends one dispatch through a producer; it is the scheduler's ``apply_entry``.
    """

    def __init__(self, context: Context, send: Send) -> None:
        self.context = context
        self.config = context.config
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self.epoch: int | None = None
        self._agenda = Agenda()
        self._jobs: Mapping[str, Job] = {}
        self._version = 0
        self._last_epoch = 0
        self._info: SchedulerInfo | None = None
        window = self.config.catch_up_window
        self._claims = Claims(context.app, self.config, context.enabled, context.registry.hooks_of)
        publisher = Publisher(context.app, self.config.broker_timeout, context.clock.monotonic)
        self._delivery = Delivery(
            lambda: context.store, publisher, send, retention=context.store_options.retention, patience=window
        )
        self._debts = Debts(lambda: context.store, publisher, send, self._queue_of)
        rules = Rules(catch_up=self.config.catch_up, window=window, grace=self.config.late_after)
        self._planning = Planning(rules, self._agenda)
        self._reap_at = self._unsent_at = 0.0
        self._silent_since: float | None = None
        self._complain_at = 0.0
        self._journal = Journal(self.config.late_after)
        self._closed = False

    def tick(self) -> float:
        """Run one pass and return the seconds until the next is wanted, at most a second.

        Bounded by the store's and the broker's timeouts; nothing but SystemExit and KeyboardInterrupt leaves it.
        """
        try:
            return self._pass()
        except StoreError as exc:
            return self._complain(exc)
        except ForeignLeaderError as exc:
            self._stand_down()
            self._say(logging.CRITICAL, "%s", exc)
            return LONGEST_WAIT
        except Exception:
            logger.exception("a scheduling pass failed; the next one starts over")
            self._stand_down()
            return LONGEST_WAIT
        finally:
            if (failure := self._delivery.take_failure()) is not None:
                logger.error("%s; claimed runs wait, next try in %.0f s", failure, self._delivery.retry_in)

    def run_once(self) -> int:
        """Claim and send everything due, beside whoever leads; return how many runs were claimed.

        A job seen for the first time counts its fires from the start of the current minute.

        Raises:
            StoreUnavailableError: The store does not answer.
            BrokerUnavailableError: What was claimed waits for the broker; any scheduler sends it later.
        """
        now = self.context.clock.now()
        self._load(now.replace(second=0, microsecond=0) - MILLISECOND)
        claimed = 0
        while due := self._agenda.take_due(now, CLAIM_LIMIT):
            claimed += self._claim_due(due, now, None)
        self._delivery.send_again(now, STUCK_AFTER, self._jobs, self._claims)
        self._reap()
        self._delivery.attempt(self._debts.send)
        if (failure := self._delivery.take_failure()) is not None:
            cause = f"{failure.cause}; what was claimed waits and is sent by the next scheduler that reaches it"
            raise BrokerUnavailableError(failure.broker, cause) from failure
        return claimed

    def wait(self, seconds: float) -> None:
        """Wait until nudged, or for *seconds*."""
        try:
            self.context.store.wait(timedelta(seconds=seconds))
        except Exception as exc:
            logger.warning("waiting for a nudge failed: %s", exc)
            time.sleep(seconds)

    def close(self) -> None:
        """Resign on a fresh connection, within 300 ms, and drop everything else.

        May be called twice, and from a signal handler, also in the middle of itself: a second signal ends what
        the first one's handler was doing, so only a resignation that was answered counts.
        """
        if self._closed or self._info is None:
            return
        try:
            store = self.context.fresh_store(CLOSING)
            store.resign(self.owner)
        except LegionError as exc:
            logger.warning("the lead could not be given up and runs out by itself: %s", exc)
        self._closed = True

    def _pass(self) -> float:
        jobs = self._read_jobs()
        if self._info is None or jobs is not self._jobs:
            self._know(jobs)
        pulse = self._pulse()
        if pulse.epoch is None:
            self._stand_down()
            self._compare(pulse)
            left = pulse.lead.expires_in.total_seconds()
            return min(LONGEST_WAIT, left + 0.005)
        now = self.context.clock.now()
        if pulse.epoch != self.epoch:
            self._lead(pulse.epoch, now)
        elif pulse.changes:
            self._planning.pauses = self.context.store.pauses()
        self._version = pulse.version
        self._push(pulse.requests, now)
        for _ in range(ROUNDS):
            due = self._agenda.take_due(now, CLAIM_LIMIT)
            if not due or self.epoch is None:
                break
            self._claim_due(due, now, self.epoch)
        if self.epoch is None:
            return 0.0
        self._keep(now)
        if pulse.owed:
            self._delivery.attempt(self._debts.send)
        return self._delay()

    def _pulse(self) -> Pulse:
        assert self._info is not None
        pulse = self.context.store.pulse(self.owner, self.config.leader_lease, self._version, INBOX_LIMIT, self._info)
        if self._silent_since is not None:
            away = self.context.clock.monotonic() - self._silent_since
            logger.warning("the store answers again after %.0f s", away)
            self._silent_since = None
        theirs = pulse.lead.info.app
        if theirs != self._info.app:
            raise ForeignLeaderError(self.config.key_prefix, self._info.app, theirs)
        return pulse

    def _compare(self, pulse: Pulse) -> None:
        """Say that the leader has another schedule: an older version of this one, or another app of the same name."""
        assert self._info is not None
        lead = pulse.lead
        if lead.info.fingerprint != self._info.fingerprint:
            text = "%s (%s, process %d) leads under %r with another schedule than this one; if it is another app, "
            text += "give each a legion_key_prefix of its own"
            self._say(logging.WARNING, text, lead.owner, lead.info.host, lead.info.pid, self.config.key_prefix)

    def _read_jobs(self) -> Mapping[str, Job]:
        """Return the app's jobs; when one that was added meanwhile is broken, those that were known before."""
        try:
            return self.context.registry.jobs
        except LegionError as exc:
            if self._info is None:
                raise
            self._say(logging.ERROR, "the schedule stays as it was: %s", exc)
            return self._jobs

    def _know(self, jobs: Mapping[str, Job]) -> None:
        """Take in the app's jobs; whoever leads loads them anew."""
        self._jobs = jobs
        self._info = SchedulerInfo(
            app=str(self.context.app.main or ""),
            fingerprint=self.context.registry.fingerprint(),
            host=socket.gethostname(),
            pid=os.getpid(),
        )
        self.epoch = None

    def _lead(self, epoch: int, now: datetime) -> None:
        if epoch <= self._last_epoch:
            # Epochs only grow: the store has lost what it knew. This scheduler still knows where jobs stood.
            standings: dict[datetime, list[Standing]] = defaultdict(list)
            for standing in self._agenda.standings.values():
                standings[standing.mark].append(standing)
            for mark, some in standings.items():
                for part in _chunks(some, SIGHT_LIMIT):
                    self._tell(mark, part)
        elif not self._last_epoch:
            for warning in self.context.store.warnings():
                logger.warning("%s", warning)
        self._load(now)
        self.epoch = self._last_epoch = epoch
        logger.info("%s leads with epoch %d: %d jobs", self.owner, epoch, len(self._agenda.standings))
        # Whoever led before may have died between its claims and their messages.
        self._delivery.send_again(now, timedelta(0), self._jobs, self._claims)
        self._unsent_at = self.context.clock.monotonic() + UNSENT_EVERY

    def _load(self, mark: datetime) -> None:
        if self._info is None:
            self._jobs = self.context.registry.jobs
        enabled = [job for job in self._jobs.values() if job.enabled]
        sights: dict[str, Sight] = {}
        for some in _chunks(enabled, SIGHT_LIMIT):
            prints = {job.name: trigger_print(job.trigger) for job in some}
            sights.update(self.context.store.sight(prints, mark))
        self._planning.pauses = self.context.store.pauses()
        self._agenda.load(enabled, sights)
        for name, problem in self._agenda.broken.items():
            logger.error("job %s has no next fire: %s", name, problem)

    def _push(self, requests: Sequence[Request], now: datetime) -> None:
        if not requests:
            return
        # A fire's identity has whole milliseconds.
        moment = from_ms((now - from_ms(0)) // MILLISECOND)
        asked = []
        for request in requests:
            try:
                asked.append(self._claims.of_push(request, self._jobs, moment))
            except PushError as exc:
                logger.error("%s", exc)
        self._claim(asked, self.epoch, now)
        self.context.store.ack([request.id for request in requests])

    def _claim_due(self, due: Sequence[Standing], now: datetime, epoch: int | None) -> int:
        asked: list[Asked] = []
        owners: list[Standing] = []
        for standing in due:
            try:
                made = list(self._claims.of_plan(standing.job, standing.mark, self._planning.plan(standing, now), now))
            except Exception:
                logger.exception(
                    "job %s cannot be planned; it is left out until the schedule is loaded again", standing.job.name
                )
                continue
            asked += made
            owners += [standing] * len(made)
        marks: dict[str, datetime | None] = {}
        claimed = 0
        for some in _chunks(list(zip(asked, owners, strict=True)), CLAIM_LIMIT):
            verdicts = self._claim([one for one, _ in some], epoch, now)
            for (one, standing), verdict in zip(some, verdicts, strict=True):
                claimed += verdict.granted is Granted.RUN
                marks[standing.job.name] = verdict.mark if verdict.granted is Granted.STALE else one.claim.fire_time
                if verdict.granted is Granted.DEPOSED:
                    logger.warning("%s was deposed and stands by", self.owner)
                    self._stand_down()
                    return claimed
        forgotten: dict[datetime, list[Standing]] = defaultdict(list)
        for standing in due:
            if (mark := marks.get(standing.job.name)) is not None:
                self._agenda.settle(standing, mark)
            elif standing.job.name in marks:
                forgotten[standing.mark].append(standing)
        for at, standings in forgotten.items():
            self._remind(at, standings)
        return claimed

    def _remind(self, mark: datetime, standings: Sequence[Standing]) -> None:
        """Tell a store that has lost its marks where these jobs stood, so that no fire is lost with them."""
        logger.warning("the store has lost the marks of %d jobs; it is told them again", len(standings))
        sights = self._tell(mark, standings)
        for standing in standings:
            self._agenda.settle(standing, sights[standing.job.name].mark)

    def _tell(self, mark: datetime, standings: Sequence[Standing]) -> dict[str, Sight]:
        prints = {standing.job.name: trigger_print(standing.job.trigger) for standing in standings}
        return self.context.store.sight(prints, mark)

    def _claim(self, asked: Sequence[Asked], epoch: int | None, now: datetime) -> list[Verdict]:
        """Claim, then publish and confirm what was granted."""
        if not asked:
            return []
        verdicts = self.context.store.claim([one.claim for one in asked], self.owner, epoch, self.config.leader_lease)
        granted = []
        for one, verdict in zip(asked, verdicts, strict=True):
            self._journal.write(one, verdict, now)
            if verdict.granted is Granted.RUN and one.dispatch is not None:
                if one.error is not None:
                    self._delivery.refuse(one.dispatch, one.error)
                else:
                    granted.append(one.dispatch)
        self._delivery.deliver(granted)
        return verdicts

    def _keep(self, now: datetime) -> None:
        """Send again what got stuck, and end what nobody else will."""
        clock = self.context.clock.monotonic()
        if clock >= self._unsent_at or (self._delivery.stuck and self._delivery.retry_in == 0):
            self._unsent_at = clock + UNSENT_EVERY
            age = timedelta(0) if self._delivery.stuck else STUCK_AFTER
            self._delivery.send_again(now, age, self._jobs, self._claims)
        if clock >= self._reap_at:
            self._reap_at = clock + REAP_EVERY
            self._reap()

    def _reap(self) -> None:
        for record in self.context.store.reap(REAP_LIMIT):
            logger.error("run %s of %s ended as %s (%s)", record.id, record.job, record.state.value, record.reason)

    def _queue_of(self, name: str) -> str | None:
        job = self._jobs.get(name)
        return None if job is None else self._claims.queue(job)

    def _delay(self) -> float:
        delay = LONGEST_WAIT
        if (fire := self._agenda.next_fire_ms) is not None:
            delay = min(delay, (from_ms(fire) - self.context.clock.now()).total_seconds())
        if self._delivery.stuck:
            delay = min(delay, max(0.05, self._delivery.retry_in))
        return max(0.0, delay)

    def _stand_down(self) -> None:
        if self.epoch is not None:
            logger.info("%s leads no more", self.owner)
        self.epoch = None

    def _complain(self, exc: StoreError) -> float:
        self._stand_down()
        if self._silent_since is None:
            self._silent_since = self.context.clock.monotonic()
            self._complain_at = 0.0
        self._say(logging.ERROR, "%s; nothing is sent until it answers", exc)
        return LONGEST_WAIT

    def _say(self, level: int, text: str, *args: object) -> None:
        """Log what holds for a while, at most twice a minute."""
        clock = self.context.clock.monotonic()
        if clock >= self._complain_at:
            self._complain_at = clock + COMPLAIN_EVERY
            logger.log(level, text, *args)


def _chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some
