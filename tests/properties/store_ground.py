"""The ground of the store machine: two stores on one clock, drawn calls, and a book of the runs that have begun.

Time passes in steps of two seconds, and every span that ends something is odd: so nothing ends at the very moment at
which it is looked at, where the two may differ by a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from celery_legion.run import Kind, State
from celery_legion.stores import open_store
from celery_legion.stores.base import (
    Claim,
    Lapse,
    Lock,
    Retention,
    StoreOptions,
    Ticket,
    Verdict,
)
from celery_legion.stores.memory import MemoryStore
from celery_legion.testing.conformance_case import minute
from tests.properties.frozen import FrozenValkey

JOBS = ("a", "b", "c")
LOCKS = {"a": "a", "b": "shared", "c": "shared"}
OWNERS, WORKERS, ASKERS = ("beat-1", "beat-2"), ("worker-1", "worker-2"), ("delivery-1", "delivery-2", "delivery-3")
KEEP = Retention(size=10_000, dedup=timedelta(seconds=31))
STEP = timedelta(seconds=2)
OWED = frozenset({State.SUCCEEDED, State.LOST, State.SKIPPED, State.EXPIRED})
ENDS = (State.SUCCEEDED, State.FAILED, State.INTERRUPTED, State.EXPIRED, State.SKIPPED, State.MISSED)
RANKS = {State.CLAIMED: 0, State.SENT: 1, State.RUNNING: 2, State.RETRYING: 2}

odd = st.integers(0, 7).map(lambda number: timedelta(seconds=2 * number + 1))
# Doubled and added up as often as one likes, it is no whole number of seconds.
missing = st.sampled_from((timedelta(seconds=1.1), timedelta(seconds=5.1)))
even = st.integers(0, 5).map(lambda number: timedelta(seconds=2 * number))
jobs, owners, workers = st.sampled_from(JOBS), st.sampled_from(OWNERS), st.sampled_from(WORKERS)


@dataclass(slots=True)
class Life:
    """What the machine itself knows of a run that has begun: the lock, and until when it is its."""

    lock: str
    limit: int
    till: datetime
    freed: bool = False


def plain(answer: Any) -> Any:
    """Return an answer in a form that leaves out what the contract does not order."""
    if isinstance(answer, list):
        items = [plain(one) for one in answer]
        return items if items and isinstance(items[0], Verdict) else sorted(items, key=repr)
    if isinstance(answer, Lock):
        return replace(answer, holders=tuple(sorted(answer.holders, key=repr)))
    return answer


def minutes(moment: datetime) -> int:
    """Return the number of the fire at *moment*."""
    return round((moment - minute(0)) / timedelta(minutes=1))


class StoreGround(RuleBasedStateMachine):
    """The two stores, what the machine itself knows of them, and what it draws for their verbs."""

    def __init__(self, server: FrozenValkey) -> None:
        super().__init__()
        self.server = server
        self.model = MemoryStore(retention=KEEP, now=server.now)
        server.reset()
        prefix, patience = f"machine:{uuid4().hex}", timedelta(seconds=60)
        options = StoreOptions(url=server.url, prefix=prefix, timeout=patience, retention=KEEP)
        self.subject = open_store(options)
        self.stores = (self.model, self.subject)
        self.numbers = dict.fromkeys(JOBS, 1)
        self.epochs: dict[str, int] = {}
        self.claims: dict[str, Claim] = {}
        self.tokens: dict[str, list[int]] = {}
        self.highest = 0
        self.lives: dict[str, Life] = {}
        self.records: dict[str, set[str]] = {job: set() for job in JOBS}
        self.lapsed = dict.fromkeys(JOBS, 0)
        self.ranks: dict[str, int] = {}
        self.went_back: set[str] = set()
        self.both(lambda store: store.sight(dict.fromkeys(JOBS, "print"), minute(0)))

    def teardown(self) -> None:
        self.subject.close()

    def both(self, verb: Callable[[Any], Any]) -> Any:
        """Call a verb of both stores and return what both have answered."""
        wanted, got = (plain(verb(store)) for store in self.stores)
        assert got == wanted
        return wanted

    @property
    def now(self) -> datetime:
        return self.server.now()

    def ids(self, data: st.DataObject) -> str:
        """Draw the id of a run, of one that is none as well."""
        return data.draw(st.sampled_from([*self.claims, "nobody"]))

    def token(self, data: st.DataObject, run_id: str) -> int:
        """Draw a token of a run: its last one more often than not."""
        known = self.tokens.get(run_id, [])
        return data.draw(st.sampled_from([*known[-1:] * 4, *known, 0]))

    def draw_claim(self, data: st.DataObject, job: str) -> Claim:
        mark = self.model.states([job])[job].mark or minute(0)
        # A fire is later than its mark; a message of a run that was lost may have moved that.
        number = max(self.numbers[job], minutes(mark) + 1) + data.draw(st.integers(0, 1))
        run_id: str | None = data.draw(st.sampled_from((f"{job}-{number}",) * 5 + (None,)))
        lapses: tuple[Lapse, ...] = ()
        if data.draw(st.integers(0, 3)) == 0 or run_id is None:
            state, reason = data.draw(st.sampled_from(((State.MISSED, "catch_up"), (State.SKIPPED, "paused"))))
            lapses = (Lapse(state=state, reason=reason, first=minute(number - 1), last=minute(number - 1)),)
        limit = data.draw(st.sampled_from((1, 1, 1, 0)))
        return Claim(
            job=job,
            fire_time=minute(number),
            mark=data.draw(st.sampled_from((mark, mark, mark, minute(-5)))),
            run_id=run_id,
            lapses=lapses,
            lock=LOCKS[job],
            limit=limit,
            lock_ttl=data.draw(odd),
            message="{}",
            deadline=data.draw(st.none() | odd.map(lambda span: self.now + span)),
            queue=data.draw(st.sampled_from(("celery", "celery", "other", None))),
            jumps=data.draw(st.integers(0, 4)) == 0,
            eta=data.draw(st.none() | st.none() | odd.map(lambda span: self.now + span)),
            watched=data.draw(st.integers(0, 9)) > 0,
            owes=data.draw(st.sampled_from((frozenset(), OWED))),
        )

    def draw_push(self, data: st.DataObject, job: str) -> Claim:
        number = data.draw(st.integers(1, 3))
        run_id = f"push-{job}-{number}"
        known = self.claims.get(run_id)
        if known is not None:
            return known
        fresh = self.draw_claim(data, job)
        return replace(fresh, run_id=run_id, mark=None, kind=Kind.PUSHED, lapses=())

    def draw_ticket(self, data: st.DataObject, run_id: str) -> Ticket:
        job = run_id.split("-")[-2] if "-" in run_id else "a"
        one = self.claims.get(run_id) or Claim(job=job, fire_time=minute(1), mark=None, run_id=run_id, lock=LOCKS[job])
        return Ticket(
            id=run_id,
            job=data.draw(st.sampled_from((one.job,) * 9 + ("c",))),
            fire_time=one.fire_time,
            kind=one.kind,
            worker=data.draw(workers),
            retries=data.draw(st.sampled_from((0, 0, 1, 2))),
            redelivered=False,
            late=data.draw(st.booleans()),
            lock=one.lock,
            limit=one.limit,
            lease=data.draw(odd),
            asker=data.draw(st.sampled_from(ASKERS)),
            lock_ttl=one.lock_ttl,
            visibility=data.draw(even),
            owes=one.owes,
            known=data.draw(st.integers(0, 4)) == 0,
        )
