"""The keyspace: the key prefix that a worker serves runs under, where its scheduler's app has another name."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta

from celery_legion.config import is_prefix
from celery_legion.context import Context
from celery_legion.control import in_line
from celery_legion.errors import StoreError
from celery_legion.run import Reason, State
from celery_legion.stores.base import Outcome, Store
from celery_legion.worker.begun import BegunRuns

logger = logging.getLogger(__name__)

PATIENCE = timedelta(milliseconds=250)
"""How long one question to a store may block the worker's loop."""


class ForeignRunError(Exception):
    """A run belongs to a key prefix that this worker does not serve."""


class Keyspace:
    """Decides in the worker's main process whether a run's key prefix is its own; each store is asked in *patience*.

    A worker that only has the prefix that is made of its app's name moves to the one of the first run it receives, if
    the store knows that run there and no scheduler uses its own. The processes of its pool follow run by run.
    """

    def __init__(self, context: Context, begun: BegunRuns, patience: timedelta) -> None:
        self.context = context
        self.begun = begun
        self.patience = patience

    def serves(self, run_id: str, prefix: str | None) -> bool:
        """Return whether the run may be asked for now; False if what has begun under another prefix must end first.

        Raises:
            ForeignRunError: It is none of this worker's; the text says why.
            StoreUnavailableError: The store does not answer.
        """
        ours = self.context.config.key_prefix
        if prefix is None or prefix == ours:
            return True
        with closing(self.context.store_under(prefix, self.patience)) as theirs:
            if theirs.get(run_id) is None:
                raise ForeignRunError(
                    f"the store knows no such run under the key prefix {in_line(prefix)} that it names"
                )
            if self.context.prefix_is_given or self._has_scheduler(ours):
                self._refuse(theirs, run_id, prefix, ours)
        if self.begun.live():
            return False
        self.context.serve(prefix)
        text = (
            "Runs are served under the key prefix %s from now on, where they are sent from, not under %s of this app's "
        )
        text += "name; set legion_key_prefix, the same for schedulers and workers"
        logger.warning(text, in_line(prefix), ours)
        return True

    def _has_scheduler(self, ours: str) -> bool:
        with closing(self.context.store_under(ours, self.patience)) as store:
            return bool(store.schedulers())

    def _refuse(self, theirs: Store, run_id: str, prefix: str, ours: str) -> None:
        problem = f"it was sent under the key prefix {in_line(prefix)}, and this worker serves {ours}"
        problem += "; set the same legion_key_prefix for schedulers and workers, or give each app queues of its own"
        # Its job would wait for it until its lock is over.
        outcome = Outcome(state=State.FAILED, reason=Reason.REJECTED, error=problem)
        theirs.end(run_id, 0, outcome, self.context.store_options.retention)
        raise ForeignRunError(problem)


def end_elsewhere(context: Context, run_id: str, raw: object, outcome: Outcome) -> bool:
    """End a run that has not begun under the key prefix that its header names; False if that is the worker's own."""
    prefix = raw.get("prefix") if isinstance(raw, Mapping) else None
    if not isinstance(prefix, str) or not is_prefix(prefix) or prefix == context.config.key_prefix:
        return False
    try:
        with closing(context.store_under(prefix, PATIENCE)) as theirs:
            theirs.end(run_id, 0, outcome, context.store_options.retention)
    except StoreError as exc:
        logger.error("The end of run %s is not recorded under %s: %s", in_line(run_id), in_line(prefix), exc)
    return True
