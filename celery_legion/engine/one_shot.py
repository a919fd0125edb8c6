"""The one-shot: one pass that needs no lead, beside whoever leads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from celery_legion.clock import MILLISECOND
from celery_legion.context import Context
from celery_legion.engine.clocks import Clocks
from celery_legion.engine.dispatcher import INBOX_LIMIT, Dispatcher, chunks, whole_ms
from celery_legion.engine.publisher import Send
from celery_legion.errors import BrokerUnavailableError, ForeignLeaderError
from celery_legion.job import Job
from celery_legion.run import Kind
from celery_legion.stores.base import CLAIM_LIMIT, Lead, Verdict

STUCK_AFTER = timedelta(seconds=5)
"""Age of an unconfirmed claim that is sent again while the broker is well: its scheduler is dead or cut off."""


ROUNDS = 100
"""Most readings of the inbox: what is pushed meanwhile does not keep a one-shot going for ever."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """A run that was asked for by hand: the id it has if it was granted, and what became of its claim."""

    job: Job
    run_id: str
    verdict: Verdict


class OneShot:
    """Claims and sends once. Any number may run at the same moment: the claim makes each fire single."""

    def __init__(self, context: Context, send: Send) -> None:
        self.context = context
        self._dispatcher = Dispatcher(context, send)
        self._clocks = Clocks(context.clock)

    def run_due(self, tags: Collection[str] = ()) -> int:
        """Claim and send everything due, of jobs with one of *tags* if any are given; return how many runs.

        A job seen for the first time counts its fires from the start of the current minute. Where no scheduler
        leads, pushes are taken from the inbox too, unless *tags* are given.

        Raises:
            ForeignLeaderError: Another app's scheduler leads under the same prefix.
            StoreUnavailableError: The store does not answer.
            BrokerUnavailableError: What was claimed waits for the broker; any scheduler sends it later.
        """
        dispatcher, store = self._dispatcher, self.context.store
        leader = self._leader()
        now = self._now()
        minute = now.replace(second=0, microsecond=0) - MILLISECOND
        asked = frozenset(tags)
        dispatcher.load(self.context.registry.jobs, minute, lambda job: not asked or not asked.isdisjoint(job.tags))
        claimed = 0
        while due := dispatcher.agenda.take_due(now, CLAIM_LIMIT):
            claimed += dispatcher.claim_due(due, now, None)
        if leader is None and not tags:
            for _ in range(ROUNDS):
                requests = store.requests(INBOX_LIMIT)
                if not requests:
                    break
                claimed += dispatcher.claim_pushes(requests, now, None)
        dispatcher.send_again(now, STUCK_AFTER)
        dispatcher.reap()
        dispatcher.send_hooks()
        self._finish()
        self._check_broker()
        return claimed

    def run_now(self, jobs: Iterable[Job], kind: Kind, *, unlocked: bool = False) -> list[Ordered]:
        """Ask for a run of each of *jobs* now, whatever the clock says; no mark moves.

        Locks are respected, and a run that one is in the way of is recorded as a skip; *unlocked* takes none.

        Raises:
            ForeignLeaderError: Another app's scheduler leads under the same prefix.
            StoreUnavailableError: The store does not answer.
            BrokerUnavailableError: What was claimed waits for the broker; any scheduler sends it later.
        """
        self._leader()
        now = self._now()
        ordered = [(job, str(uuid4())) for job in jobs]
        self._dispatcher.jobs = self.context.registry.jobs
        found = []
        for some in chunks(ordered, CLAIM_LIMIT):
            asked = [
                self._dispatcher.claims.of_order(job, run_id, kind, whole_ms(now), unlocked=unlocked)
                for job, run_id in some
            ]
            verdicts = self._dispatcher.claim(asked, None, now)
            found += [Ordered(job, run_id, verdict) for (job, run_id), verdict in zip(some, verdicts, strict=True)]
        self._finish()
        self._check_broker()
        return found

    def refusals(self, jobs: Iterable[Job]) -> Mapping[str, str]:
        """Return which of *jobs* are paused or refused by their conditions now, with the reason."""
        self._dispatcher.planning.pauses = self.context.store.pauses()
        now = self._now()
        found = ((job.name, self._dispatcher.planning.refusal(job, now)) for job in jobs)
        return {name: why for name, why in found if why is not None}

    def _now(self) -> datetime:
        asked = self.context.clock.monotonic()
        return self._clocks.judge(self.context.store.now(), asked)

    def _leader(self) -> Lead | None:
        leads = [lead for lead in self.context.store.schedulers() if lead.epoch]
        ours = str(self.context.app.main or "")
        if leads and leads[0].info.app != ours:
            raise ForeignLeaderError(self.context.config.key_prefix, ours, leads[0].info.app)
        return leads[0] if leads else None

    def _finish(self) -> None:
        """Wait for messages that jobs' own code still makes: nobody comes back for them soon."""
        self._dispatcher.delivery.finish(self.context.config.broker_timeout.total_seconds())

    def _check_broker(self) -> None:
        if (failure := self._dispatcher.delivery.take_failure()) is not None:
            cause = f"{failure.cause}; what was claimed waits and is sent by the next scheduler that reaches it"
            raise BrokerUnavailableError(failure.broker, cause) from failure
