"""Delivery: from claimed to known to be sent, however often that takes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta

from celery_legion.control import error_in_line, in_line
from celery_legion.engine.claims import Claims
from celery_legion.engine.dispatch import Dispatch, NotSentError, UnmadeError
from celery_legion.engine.publisher import BATCH_LIMIT, Publisher, Send
from celery_legion.engine.strangers import Strangers
from celery_legion.errors import BrokerUnavailableError
from celery_legion.job import Job
from celery_legion.run import Reason, State
from celery_legion.stores.base import Outcome, Retention, Store, Unsent

logger = logging.getLogger(__name__)

ROUNDS = 10
"""Most batches sent again in one pass."""

LATE_LIMIT = 1000
"""Most dispatches that are remembered while their messages are made; further ones are found in the store."""

LATE_LOOKS = 100
"""Most of them that one pass asks the store about."""

TELL_AFTER = 5.0
"""Seconds of making after which it is said that a job's own code takes so long."""


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
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._send = send
        self._retention = retention
        self._patience = patience
        self._lost_after = lost_after
        self._strangers = strangers
        self._monotonic = monotonic
        self._doubted: set[str] = set()
        self._owed: list[str] = []
        self._astray: set[str] = set()
        self._owed_ends: list[tuple[str, Outcome]] = []
        self._told: dict[str, str] = {}
        self._failure: BrokerUnavailableError | None = None
        self._late: dict[str, tuple[Dispatch, float]] = {}

    def take_failure(self) -> BrokerUnavailableError | None:
        """Return how the broker failed since this was last asked, None if it did not."""
        failure, self._failure = self._failure, None
        return failure

    @property
    def stuck(self) -> bool:
        """Whether the broker failed and claimed runs wait for it."""
        return self._publisher.broken

    @property
    def waits(self) -> bool:
        """Whether claimed runs wait for their jobs' own code to make their messages."""
        return bool(self._late)

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
            taken = self._publish(batch)
            for dispatch in batch:
                # What cannot be made is the job's own affair, also while the broker is away.
                if dispatch.error is not None:
                    self.refuse(dispatch, dispatch.error)
            if not taken:
                return

    def collect(self) -> None:
        """Send what was late and is made by now, if its run still waits for it.

        Raises:
            StoreUnavailableError: As :meth:`deliver`; :meth:`send_again` finds what was not sent.
        """
        now = self._monotonic()
        for dispatch, since in self._late.values():
            if now - since >= TELL_AFTER:
                text = "the own code of job %s has been making the message of run %s for %.0f s; other jobs go on"
                self._tell(dispatch.job, "late", text, in_line(dispatch.job), in_line(dispatch.run_id), now - since)
        if not self._publisher.ready():
            return
        ready = [dispatch for dispatch, _ in self._late.values() if self._publisher.is_ready(dispatch)][:LATE_LOOKS]
        waiting = []
        for dispatch in ready:
            record = self._store().get(dispatch.run_id)
            if record is not None and record.state is State.CLAIMED and record.sent_at is None:
                waiting.append(dispatch)
            else:
                self._late.pop(dispatch.run_id, None)
        self.deliver(waiting)

    def finish(self, seconds: float) -> None:
        """Collect what is late for as long as *seconds*, and say so of what still is."""
        until = self._monotonic() + seconds
        while self._late and (left := until - self._monotonic()) > 0:
            self._publisher.wait(min(left, 0.25))
            self.collect()
            if self._publisher.broken:
                break
        for dispatch, _ in self._late.values():
            text = (
                "the own code of job %s has not made the message of run %s within %g s; its run waits for a scheduler"
            )
            logger.warning(text, in_line(dispatch.job), in_line(dispatch.run_id), seconds)

    def forget_late(self) -> None:
        """Leave what is late to whoever leads next, who finds it in the store."""
        self._late.clear()

    def _publish(self, batch: Sequence[Dispatch]) -> bool:
        """Publish and confirm one batch; False if the broker does not take it."""
        taken = True
        try:
            known = self._publisher.publish(batch, self._send)
        except BrokerUnavailableError as exc:
            self._failure, taken, known = exc, False, list(exc.delivered)
        unguarded = {dispatch.run_id: dispatch for dispatch in batch if dispatch.unguarded}
        self._owed_ends += [(run_id, self._unwatched(unguarded[run_id])) for run_id in known if run_id in unguarded]
        for dispatch in batch:
            if not dispatch.late:
                self._late.pop(dispatch.run_id, None)
            elif len(self._late) < LATE_LIMIT:
                self._late.setdefault(dispatch.run_id, (dispatch, self._monotonic()))
            if dispatch.nacked:
                text = (
                    "the broker takes no message of job %s now (it was nacked: its queue is full); run %s waits, and "
                )
                self._tell(
                    dispatch.job, "nacked", text + "is sent again", in_line(dispatch.job), in_line(dispatch.run_id)
                )
        astray = [dispatch.run_id for dispatch in batch if dispatch.astray]
        self.confirm([run_id for run_id in known if run_id not in unguarded], astray)
        return taken

    def _unwatched(self, dispatch: Dispatch) -> Outcome:
        """Return how a run ends that was to be guarded, and whose messages no worker will ask about."""
        assert dispatch.making is not None
        count = dispatch.making.messages
        what = f"{count} messages were sent for it" if count > 1 else "its message stands for no run"
        text = "job %s is not guarded, and may overlap: %s by its task's apply_async or its exchange"
        self._tell(dispatch.job, "unguarded", text, in_line(dispatch.job), what)
        return Outcome(state=State.SENT, reason=Reason.UNWATCHED, error=what if count > 1 else None)

    def _tell(self, job: str, what: str, text: str, *args: object) -> None:
        """Say once what holds for a job."""
        if self._told.get(job) != what:
            self._told[job] = what
            logger.warning(text, *args)

    def attempt(self, publish: Callable[[], object]) -> None:
        """Publish something that is no run; that the broker failed is remembered as it is for runs."""
        try:
            publish()
        except BrokerUnavailableError as exc:
            self._failure = exc

    def confirm(self, ids: Sequence[str], astray: Collection[str] = ()) -> None:
        """Tell the store what is sent, with what an earlier call could not tell it (:meth:`.SchedulerStore.sent`)."""
        self._owed.extend(ids)
        self._astray.update(astray)
        while self._owed_ends:
            run_id, outcome = self._owed_ends[-1]
            self._store().end(run_id, 0, outcome, self._retention)
            self._owed_ends.pop()
        if self._owed:
            self._store().sent(self._owed, self._astray)
            self._owed.clear()
            self._astray.clear()

    def refuse(self, dispatch: Dispatch, error: Exception) -> None:
        """End a run whose message cannot be made or sent for its own sake; one whose task sends none is a skip."""
        run, job = in_line(dispatch.run_id), in_line(dispatch.job)
        if isinstance(error, NotSentError):
            logger.info("run %s of %s is skipped: %s", run, job, error)
            outcome = Outcome(state=State.SKIPPED, reason=Reason.NOT_SENT, error=str(error))
        else:
            logger.error("run %s of %s cannot be sent: %s", run, job, error_in_line(error))
            logger.debug("where it went wrong", exc_info=error)
            outcome = Outcome(state=State.FAILED, reason=Reason.UNSENDABLE, error=error_in_line(error))
        self._store().end(dispatch.run_id, 0, outcome, self._retention)

    def send_again(
        self, now: datetime, older_than: timedelta, jobs: Mapping[str, Job], claims: Claims, *, lost: bool = True
    ) -> None:
        """Publish again what was claimed longer than *older_than* ago and never confirmed, or (if *lost*) got lost.

        One never confirmed that is past its deadline, or waits for longer than the catch-up window, ends as
        ``missed(broker)``, or as ``failed(unsendable)`` if its job's own code still makes its message; one that nobody
        can make a message for as ``missed(gone)``. Looking for what got lost in the broker may take a second, in which
        the workers are asked.
        """
        self.confirm(())
        lost_after = self._lost_after if lost else None
        for _ in range(ROUNDS):
            if not self._publisher.ready():
                return
            found = self._store().unsent(older_than, BATCH_LIMIT, lost_after)
            waiting = self._confirm_again([unsent for unsent in found if not unsent.lost], now, jobs, claims)
            self._replace([unsent for unsent in found if unsent.lost], now, jobs, claims)
            if len(found) < BATCH_LIMIT or self._publisher.broken or waiting:
                return

    def _confirm_again(
        self, unconfirmed: Sequence[Unsent], now: datetime, jobs: Mapping[str, Job], claims: Claims
    ) -> bool:
        """Send again what was never confirmed; return whether some of it has to wait, and would be found once more."""
        dispatches = []
        late = 0
        for unsent in unconfirmed:
            over = now > (unsent.deadline or unsent.fire_time + self._patience)
            if (mine := self._late.get(unsent.id)) is not None:
                # It is not made twice; what is made by now is collected.
                late += not over
                if over:
                    del self._late[unsent.id]
                    self.refuse(mine[0], UnmadeError("the job's own code has not made its message in time"))
            elif over:
                self._miss(unsent, Reason.BROKER)
            elif (dispatch := _made_again(unsent, jobs, claims)) is None:
                self._miss(unsent, Reason.GONE)
            else:
                dispatches.append(dispatch)
        if dispatches:
            logger.info("%d claimed runs were never confirmed: sending them again", len(dispatches))
            self.deliver(dispatches)
        return late > 0 or any(dispatch.nacked or dispatch.late for dispatch in dispatches)

    def _replace(self, missing: Sequence[Unsent], now: datetime, jobs: Mapping[str, Job], claims: Claims) -> None:
        """Send the messages again that the broker has lost. None is ended here: it had them, and they may turn up."""
        dispatches = []
        for unsent in missing:
            if (unsent.deadline is not None and now > unsent.deadline) or self._is_doubtful(unsent):
                continue
            if (dispatch := _made_again(unsent, jobs, claims)) is not None:
                dispatches.append(dispatch)
        if not dispatches or not self._publisher.ready():
            return
        self._publish(dispatches)
        for dispatch in dispatches:
            run, job = in_line(dispatch.run_id), in_line(dispatch.job)
            if dispatch.accepted:
                logger.warning("the message of run %s of job %s seems to be lost; it is sent again", run, job)
            elif dispatch.error is not None:
                text = "the message of run %s of job %s seems to be lost, and cannot be sent again: %s"
                logger.error(text, run, job, error_in_line(dispatch.error))

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


def _made_again(unsent: Unsent, jobs: Mapping[str, Job], claims: Claims) -> Dispatch | None:
    try:
        return claims.again(unsent, jobs.get(unsent.job))
    except Exception as exc:
        text = "the message of run %s of %s cannot be made again: %s"
        logger.error(text, in_line(unsent.id), in_line(unsent.job), error_in_line(exc))
        return None
