"""One scheduling pass: pulse → due → decide → claim → publish → confirm → reap."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import datetime, timedelta

from celery_legion.clock import from_ms
from celery_legion.context import Context
from celery_legion.control import in_line
from celery_legion.engine.clocks import Clocks
from celery_legion.engine.company import unguarded_leader, unguarded_self
from celery_legion.engine.dispatcher import INBOX_LIMIT, DeposedError, Dispatcher
from celery_legion.engine.one_shot import STUCK_AFTER
from celery_legion.engine.publisher import Send
from celery_legion.engine.servers import broker_warnings
from celery_legion.engine.witness import Witness
from celery_legion.errors import ForeignLeaderError, LegionError, StoreError
from celery_legion.job import Job
from celery_legion.stores.base import CLAIM_LIMIT, Lead, Pulse, SchedulerInfo

logger = logging.getLogger(__name__)

LONGEST_WAIT = 1.0
"""Seconds between two passes at most."""

LATE_WAIT = 0.25
"""Seconds between two passes while a job's own code makes a message beside them."""

ROUNDS = 10
"""Most claims in one pass: after 2 000 fires the lead is renewed and the inbox read."""

LISTENING = 1.5 * LONGEST_WAIT
"""Seconds for which the next leader of a store that has lost its memory waits for the one before it to tell what it
knows, besides those for which that may be waiting for the broker."""

REAP_EVERY, UNSENT_EVERY = 2.5, 5.0
COMPLAIN_EVERY = 30.0
TWO = "if these are two deployments, give each a legion_key_prefix of its own"
CLOSING = timedelta(milliseconds=300)


class Engine:
    """The scheduling loop's body. Any number may run on one store; one leads, and the claim makes each fire single.

    *send* sends one dispatch through a producer; it is the scheduler's ``apply_entry``.
    """

    def __init__(self, context: Context, send: Send) -> None:
        self.context = context
        self.config = context.config
        self.epoch: int | None = None
        self._dispatcher = Dispatcher(context, send)
        self._clocks = Clocks(context.clock, looks=2)
        self._version = 0
        # Whoever led before the store's memory was lost may be waiting for the broker.
        listening = LISTENING + self.config.broker_timeout.total_seconds()
        self._witness = Witness(self.config.leader_lease, listening)
        self._done: datetime | None = None
        self._has_led = False
        self._info: SchedulerInfo | None = None
        self._reap_at = self._unsent_at = self._look_at = 0.0
        self._silent_since: float | None = None
        self._complain_at = self._broken_at = 0.0
        self._closed = False

    @property
    def owner(self) -> str:
        """The name under which this scheduler leads and claims."""
        return self._dispatcher.owner

    @owner.setter
    def owner(self, owner: str) -> None:
        self._dispatcher.owner = owner

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
            self._report_broker()

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
        if self._info is None or jobs is not self._dispatcher.jobs:
            self._know(jobs)
        pulse, now = self._pulse()
        self._witness.see(pulse, now, self.context.clock.monotonic())
        if pulse.epoch is None:
            return self._stand_by(pulse, now)
        if pulse.epoch != self.epoch or self._witness.lost:
            if (wait := self._witness.listening()) > 0:
                return min(LONGEST_WAIT, wait)
            self._lead(pulse, now)
        elif pulse.changes:
            self._dispatcher.planning.pauses = self.context.store.pauses()
        self._version = pulse.version
        try:
            self._dispatcher.claim_pushes(pulse.requests, now, pulse.epoch)
            claimed = self._claim_due(now, pulse.epoch)
        except DeposedError:
            logger.warning("%s was deposed and stands by", self.owner)
            self._stand_down()
            return 0.0
        self._keep(now)
        if pulse.owed or self._dispatcher.debts.waits:
            self._dispatcher.send_hooks()
        # There may be more in the inbox than one pulse reads; and up to when all is claimed is best known at once.
        return 0.0 if pulse.requests or claimed else self._delay()

    def _claim_due(self, now: datetime, epoch: int) -> bool:
        """Claim what is due at *now*, as much as one pass does; return whether there was anything."""
        began, patience = self.context.clock.monotonic(), self.config.leader_lease.total_seconds() / 3
        for number in range(ROUNDS):
            if self.context.clock.monotonic() - began > patience:
                break
            due = self._dispatcher.agenda.take_due(now, CLAIM_LIMIT)
            if not due:
                self._done = now
                self._witness.claimed(now)
                return number > 0
            self._dispatcher.claim_due(due, now, epoch)
        return True

    def _pulse(self) -> tuple[Pulse, datetime]:
        """Pulse, and return the answer with the time that this pass goes by."""
        assert self._info is not None
        asked = self.context.clock.monotonic()
        lease, serial = self.config.leader_lease, self._witness.serial
        pulse = self.context.store.pulse(self.owner, lease, self._version, INBOX_LIMIT, self._info, self._done, serial)
        now = self._clocks.judge(pulse.at, asked)
        if self._silent_since is not None:
            away = self.context.clock.monotonic() - self._silent_since
            logger.warning("the store answers again after %.0f s", away)
            self._silent_since = None
        theirs = pulse.lead.info.app
        if theirs != self._info.app:
            raise ForeignLeaderError(self.config.key_prefix, self._info.app, theirs)
        return pulse, now

    def _compare(self, pulse: Pulse) -> None:
        """Say that the leader has another schedule: an older version of this one, or another app of the same name."""
        assert self._info is not None
        lead = pulse.lead
        if self._info.guarded and not lead.info.guarded:
            self._say(logging.WARNING, "%s", unguarded_leader(lead))
        elif _sends_elsewhere(lead.info, self._info):
            text = "%s (%s, process %d) leads under %r and sends to %s, while this one would send to %s; " + TWO
            places = (in_line(lead.info.place), self._info.place)
            self._say(logging.WARNING, text, *_named(lead), self.config.key_prefix, *places)
        elif lead.info.fingerprint != self._info.fingerprint:
            text = "%s (%s, process %d) leads under %r with another schedule than this one; if it is another app, "
            text += "give each a legion_key_prefix of its own"
            self._say(logging.WARNING, text, lead.owner, lead.info.host, lead.info.pid, self.config.key_prefix)

    def _look_around(self) -> None:
        """Say that a standby would send elsewhere, or that others have Legion(app) and this one does not."""
        assert self._info is not None
        store = self.context.store
        schedulers = store.schedulers()
        if not self.context.enabled and (words := unguarded_self(self.owner, schedulers, store.workers())) is not None:
            logger.warning("%s", words)
        for lead in schedulers:
            if lead.owner != self.owner and _sends_elsewhere(lead.info, self._info):
                text = "%s (%s, process %d) stands by under %r and would send to %s, while this one sends to %s; " + TWO
                places = (in_line(lead.info.place), self._info.place)
                self._say(logging.WARNING, text, *_named(lead), self.config.key_prefix, *places)
                return

    def _read_jobs(self) -> Mapping[str, Job]:
        """Return the app's jobs; when one that was added meanwhile is broken, those that were known before."""
        try:
            return self.context.registry.jobs
        except LegionError as exc:
            if self._info is None:
                raise
            self._say(logging.ERROR, "the schedule stays as it was: %s", exc)
            return self._dispatcher.jobs

    def _know(self, jobs: Mapping[str, Job]) -> None:
        """Take in the app's jobs; whoever leads loads them anew."""
        self._dispatcher.jobs = jobs
        self._dispatcher.tell_problems(jobs)
        self._info = self._dispatcher.introduce()
        self.epoch = None

    def _stand_by(self, pulse: Pulse, now: datetime) -> float:
        if self._witness.lost and (self._witness.led or self._witness.knows):
            # Whoever leads now may know less than this scheduler, which has led before the store lost its memory.
            self._tell(now)
            self._witness.told()
        self._stand_down()
        self._compare(pulse)
        return min(LONGEST_WAIT, pulse.lead.expires_in.total_seconds() + 0.005)

    def _tell(self, now: datetime) -> None:
        """Tell a store that has lost what it knew. Only who led then knows that no pause was lifted since."""
        self._dispatcher.tell_marks()
        if self._witness.led:
            self._dispatcher.tell_pauses(now)

    def _lead(self, pulse: Pulse, now: datetime) -> None:
        mark = now
        if self._witness.lost:
            # What this scheduler knows of old keeps at least the rhythm of intervals.
            self._tell(now)
            if not self._witness.knows and (floor := self._witness.done) is not None:
                mark = min(floor, now)
                self._dispatcher.tell_floor(mark)
        elif not self._has_led:
            for warning in (*self.context.store.warnings(), *broker_warnings(self.context.app)):
                logger.warning("%s", warning)
        self._dispatcher.load(self._dispatcher.jobs, mark)
        self._witness.lead(now)
        self.epoch, self._has_led = pulse.epoch, True
        self._compare_marks(now)
        logger.info("%s leads with epoch %d: %d jobs", self.owner, pulse.epoch, len(self._dispatcher.agenda.standings))
        # Whoever led before may have died between its claims and their messages. What got lost can wait for the next
        # look, since asking the workers takes a while; what is due cannot.
        self._dispatcher.send_again(now, timedelta(0), lost=False)
        self._unsent_at = self.context.clock.monotonic() + UNSENT_EVERY

    def _compare_marks(self, now: datetime) -> None:
        """Say which jobs wait for the time to reach a fire that is claimed already: a clock was ahead once."""
        standings = self._dispatcher.agenda.standings.values()
        ahead = [standing.job.name for standing in standings if standing.mark - now > self.config.late_after]
        if ahead:
            text = "%d jobs (%s, ...) have fired up to a time that is to come: a clock was ahead then; "
            text += "they wait for it, since no fire is claimed twice"
            logger.warning(text, len(ahead), ahead[0])

    def _keep(self, now: datetime) -> None:
        """Send what was late, and again what got stuck, and end what nobody else will."""
        self._dispatcher.delivery.collect()
        clock = self.context.clock.monotonic()
        if clock >= self._unsent_at or (self._dispatcher.delivery.stuck and self._dispatcher.delivery.retry_in == 0):
            self._unsent_at = clock + UNSENT_EVERY
            age = timedelta(0) if self._dispatcher.delivery.stuck else STUCK_AFTER
            self._dispatcher.send_again(now, age)
        if clock >= self._reap_at:
            self._reap_at = clock + REAP_EVERY
            self._dispatcher.reap()
        if clock >= self._look_at:
            self._look_at = clock + COMPLAIN_EVERY
            self._look_around()

    def _delay(self) -> float:
        delay = LONGEST_WAIT
        if (fire := self._dispatcher.agenda.next_fire_ms) is not None:
            delay = min(delay, self._clocks.until(from_ms(fire)))
        if self._dispatcher.delivery.stuck:
            delay = min(delay, max(0.05, self._dispatcher.delivery.retry_in))
        if self._dispatcher.delivery.waits or self._dispatcher.debts.waits:
            delay = min(delay, LATE_WAIT)
        return max(0.0, delay)

    def _stand_down(self) -> None:
        if self.epoch is not None:
            logger.info("%s leads no more", self.owner)
        self.epoch = self._done = None
        self._dispatcher.delivery.forget_late()

    def _complain(self, exc: StoreError) -> float:
        self._stand_down()
        if self._silent_since is None:
            self._silent_since = self.context.clock.monotonic()
            self._complain_at = 0.0
        self._say(logging.ERROR, "%s; nothing is sent until it answers", exc)
        return LONGEST_WAIT

    def _report_broker(self) -> None:
        """Log that the broker fails: at once, and while it does, at most twice a minute."""
        delivery, clock = self._dispatcher.delivery, self.context.clock.monotonic()
        if (failure := delivery.take_failure()) is not None and clock >= self._broken_at:
            self._broken_at = clock + COMPLAIN_EVERY
            logger.error("%s; claimed runs wait, next try in %.0f s", failure, delivery.retry_in)
        elif not delivery.stuck:
            self._broken_at = 0.0

    def _say(self, level: int, text: str, *args: object) -> None:
        """Log what holds for a while, at most twice a minute."""
        clock = self.context.clock.monotonic()
        if clock >= self._complain_at:
            self._complain_at = clock + COMPLAIN_EVERY
            logger.log(level, text, *args)


def _sends_elsewhere(one: SchedulerInfo, other: SchedulerInfo) -> bool:
    return bool(one.place and other.place and one.place != other.place)


def _named(lead: Lead) -> tuple[str, str, int]:
    return lead.owner, lead.info.host, lead.info.pid
