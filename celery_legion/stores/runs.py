"""The store's contract for runs: what workers ask from a run's begin to its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from celery_legion.run import Record
from celery_legion.stores.data import Answer, Interruption, Kept, Outcome, Renewal, Retention, Ticket


class RunStore(Protocol):
    """What a worker asks for each run."""

    def begin(self, ticket: Ticket) -> Answer:
        """Say whether a message may run now.

        Ended → DUPLICATE (``expired(queue)``, ``lost(retry_lost)`` and a
        ``lost(process_lost)`` acknowledged late may begin after all). Same retries, lease alive,
        acknowledged early and accepted → DUPLICATE. Any other message of a run whose lease is alive → WAIT. A parked
        retry whose number this is, lease gone or handed back, or not yet begun → GO with the next attempt and a new
        token, if the lock allows: a holder that has not begun loses it and becomes ``skipped(superseded)``; when only
        begun runs hold it, the answer is SUPERSEDED and the run ends as ``skipped(superseded)`` (or
        ``lost(superseded)`` if it had begun before). An unknown id: DUPLICATE if it is in the done memory, SUPERSEDED
        if its kind is scheduled and its fire is one that the store would know: at or below the job's mark, and above
        what it was first or last told of by :meth:`SchedulerStore.sight` or :meth:`SchedulerStore.remind`, or by such a
        message. Else GO (the store has lost it: it is written anew, and the mark moves up to it). The same delivery
        (``asker``) that asks again while its lease is alive gets the same GO with the same token. A ticket for another
        job than the run's, and one that must be known and is not, are REFUSED, and nothing changes. A run that was to
        be interrupted when it was let go of ends as interrupted, and the answer is DUPLICATE. A run that is
        ``skipped(not_sent)`` may begin after all, too: its task has sent a message later than it was asked.
        """
        ...

    def renew(self, worker: str, renewals: Sequence[Renewal], lease: timedelta) -> dict[str, Kept]:
        """Extend the leases of runs this worker answers for; a run under another token, ended or unknown is LOST.

        A run not begun yet (token 0: prefetched or waiting) has its queue time extended by its lock's ttl, is not
        missing, and is OK. With ``accepted`` its message has come to the worker and is acknowledged, though it has not
        begun by the rules: it is never missing from now on, and nothing else changes.
        One that waits for its retry (token 0) has its lease extended as a running one.
        A run that shall be interrupted is kept all the same, and is INTERRUPT each time until it has ended or the
        interruption was refused.
        """
        ...

    def park(self, run_id: str, token: int, until: datetime, retries: int) -> bool:
        """Hold the run and its lock for a retry: state ``retrying``, lease until *until* plus the lease it began with.

        A worker that holds the retry's message extends the lease. When it is over nobody holds the message: its worker
        has died, and the broker has it, or nobody. Then the lock is free, and the run is ``lost(retry_lost)``. The
        message may still begin it when it turns up, if the lock allows; else the answer is SUPERSEDED, and the run
        stays lost.
        *retries* is the number the retry's message will carry. False if the token is not current or the run has ended.
        A run that shall be interrupted ends as that instead, and the answer is True.
        """
        ...

    def hand_back(self, worker: str, pid: int | None = None, begun: Mapping[str, int] | None = None) -> list[str]:
        """Let go of this worker's begun runs that can be delivered again: acknowledged late, or not accepted yet.

        Of those only that are *begun* under these tokens, and only the worker of this *pid*: another process may go on
        under the same name. None is any. Their lease is over at once, so that the next delivery may begin, and one
        acknowledged late is lost when it has waited for as long as its lock's ttl, or its visibility timeout; returns
        their ids. Also forgets the worker.
        """
        ...

    def end(self, run_id: str, token: int, outcome: Outcome, retention: Retention) -> bool:
        """End a run; True if this call did it (the first call wins).

        *token* must be the run's current one (0 for a run that never began, which is how revoked, expired and missed
        runs end). Releases the lock, or keeps it for ``outcome.dying``; writes the ledger; leaves ``id → done`` for
        the dedup age; owes the hooks that the run has for this end. An ended, unknown or re-begun run: False, and
        nothing changes. A run that was to be watched and cannot be, as its scheduler or the worker that has its message
        finds, ends as ``sent(unwatched)``, which also says when it was sent: nothing of it begins any more.
        """
        ...

    def progress(self, run_id: str, token: int, output: str) -> bool:
        """Keep the tail of what a run has written so far, for those who look; False if it does not run under *token*.

        The tail that comes with the end, or when the run is left, takes its place. A run that gets lost keeps it.
        """
        ...

    def leave(self, run_id: str, token: int, exit_code: int | None, output: str | None) -> bool:
        """Say that nothing of a run is executed any more, before or after its end; False if *token* is not its last.

        A lock that is only kept while the run is dying is released; an end that follows keeps none. Exit code and
        output are added to its record if nobody else gave them.
        """
        ...

    def interrupt(self, run_id: str, signal: int, grace: timedelta) -> Record | None:
        """Ask for the end of a run; returns its record as it stands then, None if unknown.

        One that has not begun, or waits for its retry, ends at once as ``interrupted(revoked)``. One that runs is
        told so at its next renewal, to which its worker is hurried (:meth:`.WakingStore.hurry`). One that has ended
        stays as it is.
        """
        ...

    def interruption(self, run_id: str) -> Interruption | None:
        """Return how a run shall be interrupted, or why it cannot be; None if nobody asked."""
        ...

    def refuse(self, run_id: str, token: int, why: str) -> bool:
        """Answer an interruption that cannot be carried out. False if none is asked, or *token* is not current."""
        ...

    def get(self, run_id: str) -> Record | None:
        """Return one run's record, None if unknown."""
        ...
