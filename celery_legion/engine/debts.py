"""Debts of hooks: what nobody runs where a run ends is sent to a worker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

from celery_legion.codec import Message
from celery_legion.control import error_in_line, in_line
from celery_legion.engine.dispatch import Dispatch
from celery_legion.engine.publisher import BATCH_LIMIT, Publisher, Send
from celery_legion.hook import TASK
from celery_legion.stores.base import Debt, Store

logger = logging.getLogger(__name__)

PATIENCE = timedelta(minutes=1)
"""How long a sent debt may wait for a worker before it is sent again; doubled each time."""


LONGEST = timedelta(hours=1)

LASTS = 4
"""How often it is sent again before a message expires: a queue may be long, and a worker's clock ahead."""


class Debts:
    """Sends debts that are due. A message that is sent twice pays once; one that is lost is sent again.

    *queue_of* returns the queue of a job of that name, None if it is not known.
    """

    def __init__(
        self, store: Callable[[], Store], publisher: Publisher, send: Send, queue_of: Callable[[str], str | None]
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._send = send
        self._queue_of = queue_of
        self._late: list[Dispatch] = []

    @property
    def waits(self) -> bool:
        """Whether the app's own code still makes messages for some, which are to be sent by :meth:`send`."""
        return bool(self._late)

    def send(self) -> int:
        """Send what is due, at most a batch; return how many. Nothing is put off while the broker is away.

        Raises:
            BrokerUnavailableError: The connection failed; what was not sent is due again after :data:`PATIENCE`.
        """
        if not self._publisher.ready():
            return 0
        if self._publisher.broken:
            # Whether the broker is back is tried before anything is put off.
            self._publisher.publish((), self._send)
        # What is left out of these is owed again in a while, and paid once.
        late, self._late = self._late[: BATCH_LIMIT // 2], []
        debts = self._store().owed(BATCH_LIMIT - len(late), PATIENCE)
        dispatches = [*late, *(self._dispatch(debt) for debt in debts)]
        if dispatches:
            self._publisher.publish(dispatches, self._send)
            self._late = [dispatch for dispatch in dispatches if dispatch.late]
        for dispatch in dispatches:
            if dispatch.error is not None:
                logger.error("%s are not sent: %s", in_line(dispatch.job), error_in_line(dispatch.error))
        return len(dispatches)

    def _dispatch(self, debt: Debt) -> Dispatch:
        job = debt.record.job
        if debt.sends > 1:
            text = "hooks of %s for %s are sent again: no worker has run them"
            logger.warning(text, in_line(job), in_line(debt.id))
        queue = self._queue_of(job)
        name = f"hooks of {job}"
        options: dict[str, Any] = {"shadow": name, "ignore_result": True, **({"queue": queue} if queue else {})}
        # By then others have been sent; where no worker listens, they do not pile up.
        options["expires"] = LASTS * min(PATIENCE * 2 ** min(debt.sends - 1, 10), LONGEST).total_seconds()
        return Dispatch(
            run_id=uuid4().hex, job=name, message=Message(task=TASK, args=(debt.id, job), options=options), header=None
        )
