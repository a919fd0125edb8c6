"""Delivery: from claimed to known to be sent, however often that takes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from celery_legion.control import in_line
from celery_legion.engine.claims import Claims
from celery_legion.engine.dispatch import Dispatch
from celery_legion.engine.publisher import BATCH_LIMIT, Publisher, Send
from celery_legion.engine.strangers import Strangers
from celery_legion.errors import BrokerUnavailableError
from celery_legion.job import Job
from celery_legion.run import Reason, State
from celery_legion.stores.base import Outcome, Retention, Store, Unsent

logger = logging.getLogger(__name__)

ROUNDS = 10
"""Most batches sent again in one pass."""


class Delivery:
    """Publishes claimed runs and confirms them in the store; what was not confirmed is sent again under the same id.

    So is what got lost in the broker, when it has been missing there for *lost_after*.
    """

    def __init__(
        self,
        store: Callable[[], Store],
        publisher: Publisher,
        send: Send,
        *,
        retention: Retention,
        patience: timedelta,
        lost_after: timedelta,
        strangers: Strangers,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._send = send
        self._retention = retention
        self._patience = patience
        self._lost_after = lost_after
        self._strangers = strangers
        self._doubted: set[str] = set()
        self._owed: list[str] = []
        self._failure: BrokerUnavailableError | None = None

    def take_failure(self) -> BrokerUnavailableError | None:
        """Return how the broker failed since this was last asked, None if it did not."""
        failure, self._failure = self._failure, None
        return failure

    @property
    def stuck(self) -> bool:
        """Whether the broker failed and claimed runs wait for it."""
        return self._publisher.broken

    @property
    def retry_in(self) -> float:
        """Seconds until the broker is tried again."""
        return self._publisher.retry_in()

    def deliver(self, dispatches: Sequence[Dispatch]) -> None:
        """Publish and confirm; what the broker does not take stays claimed.

        Raises:
            StoreUnavailableError: The broker has the messages, the store could not be told; the next call tells it.
        """
        for start in range(0, len(dispatches), BATCH_LIMIT):
            if not self._publisher.ready():
                return
            batch = dispatches[start : start + BATCH_LIMIT]
            try:
                known = self._publisher.publish(batch, self._send)
            except BrokerUnavailableError as exc:
                self._failure = exc
                self.confirm(exc.delivered)
                return
            self.confirm(known)
            for dispatch in batch:
                if dispatch.error is not None:
                    self.refuse(dispatch, dispatch.error)

    def attempt(self, publish: Callable[[], object]) -> None:
        """Publish something that is no run; that the broker failed is remembered as it is for runs."""
        try:
            publish()
        except BrokerUnavailableError as exc:
            self._failure = exc

    def confirm(self, ids: Sequence[str]) -> None:
        """Tell the store what is sent, with what an earlier call could not tell it."""
        self._owed.extend(ids)
        if self._owed:
            self._store().sent(self._owed)
            self._owed.clear()

    def refuse(self, dispatch: Dispatch, error: Exception) -> None:
        """End a run whose message cannot be made or sent for its own sake."""
        logger.error("run %s of %s cannot be sent: %s", in_line(dispatch.run_id), in_line(dispatch.job), error)
        logger.debug("where it went wrong", exc_info=error)
        outcome = Outcome(state=State.FAILED, reason=Reason.UNSENDABLE, error=f"{type(error).__name__}: {error}")
        self._store().end(dispatch.run_id, 0, outcome, self._retention)

    def send_again(self, now: datetime, older_than: timedelta, jobs: Mapping[str, Job], claims: Claims) -> None:
        """Publish again what was claimed longer than *older_than* ago and never confirmed, or got lost in the broker.

        One never confirmed that is past its deadline, or waits for longer than the catch-up window, ends as
        ``missed(broker)``; one that nobody can make a message for as ``missed(gone)``.
        """
        self.confirm(())
        for _ in range(ROUNDS):
            if not self._publisher.ready():
                return
            found = self._store().unsent(older_than, BATCH_LIMIT, self._lost_after)
            dispatches = [
                (dispatch, unsent.lost)
                for unsent in found
                if (dispatch := self._again(unsent, now, jobs.get(unsent.job), claims)) is not None
            ]
            unconfirmed = sum(not lost for _, lost in dispatches)
            if unconfirmed:
                logger.info("%d claimed runs were never confirmed: sending them again", unconfirmed)
            self.deliver([dispatch for dispatch, _ in dispatches])
            for dispatch, lost in dispatches:
                if lost and dispatch.accepted:
                    text = "the message of run %s of job %s seems to be lost; it is sent again"
                    logger.warning(text, in_line(dispatch.run_id), in_line(dispatch.job))
            if len(found) < BATCH_LIMIT or self._publisher.broken:
                return

    def _again(self, unsent: Unsent, now: datetime, job: Job | None, claims: Claims) -> Dispatch | None:
        over = unsent.deadline or unsent.fire_time + self._patience
        if now > over and not unsent.lost:
            self._miss(unsent, Reason.BROKER)
            return None
        # That the broker had a lost one is known, so the reaper ends it in time.
        if unsent.lost and ((unsent.deadline is not None and now > unsent.deadline) or self._is_doubtful(unsent)):
            return None
        try:
            dispatch = claims.again(unsent, job)
        except Exception as exc:
            text = "the message of run %s of %s cannot be made again: %s"
            logger.error(text, in_line(unsent.id), in_line(unsent.job), exc)
            dispatch = None
        if dispatch is None:
            self._miss(unsent, Reason.GONE)
        return dispatch

    def _is_doubtful(self, unsent: Unsent) -> bool:
        """Whether a message that seems to be lost may be executed by a worker that does not report."""
        doubt = self._strangers.doubt(unsent.queue or "")
        if doubt is None:
            self._doubted.clear()
        elif doubt not in self._doubted:
            self._doubted.add(doubt)
            text = "the message of run %s of job %s seems to be lost, but %s: it is not sent again"
            logger.warning(text, in_line(unsent.id), in_line(unsent.job), in_line(doubt))
        return doubt is not None

    def _miss(self, unsent: Unsent, reason: Reason) -> None:
        logger.error("run %s of %s is missed: %s", in_line(unsent.id), in_line(unsent.job), reason.value)
        self._store().end(unsent.id, 0, Outcome(state=State.MISSED, reason=reason), self._retention)
