"""A Redis whose clock is set: leases neither end for that, nor last longer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import redis

from celery_legion.clock import span_ms
from celery_legion.run import Kind, State
from celery_legion.stores import open_store
from celery_legion.stores.base import (
    Admission,
    Claim,
    Granted,
    Kept,
    Renewal,
    SchedulerInfo,
    Store,
    StoreOptions,
    Ticket,
    WorkerInfo,
)
from tests.servers.polling import eventually

MARK = datetime(2026, 1, 1, tzinfo=UTC)
NOTHING, MINUTE, HOUR = timedelta(0), timedelta(minutes=1), timedelta(hours=1)
INFO = SchedulerInfo(app="a", fingerprint="f", host="h", pid=1)
LEASES = (
    "live",
    "lock:j",
    "unsent",
    "owed",
    "queued",
    "missing",
    "waiting:celery",
    "jumping:celery",
    "schedulers",
    "workers",
    "queue:celery",
)


class Dated:
    """A store, and the means to date all it holds back or ahead: what a step of its clock leaves behind."""

    def __init__(self, url: str) -> None:
        prefix = f"set-{uuid4().hex}"
        self.store: Store = open_store(StoreOptions(url=url, prefix=prefix))
        self._keys = "{" + prefix + "}:"
        self._redis = redis.Redis.from_url(url, decode_responses=True)

    def key(self, name: str) -> str:
        found: str = self._keys + name
        return found

    def set_clock(self, step: timedelta) -> None:
        """As if the clock had been set by *step*: everything that is there lies as much earlier."""
        earlier = -span_ms(step)
        for name in LEASES:
            for member in self._redis.zrange(self.key(name), 0, -1):
                self._redis.zincrby(self.key(name), earlier, member)
        for pattern, field in (
            ("run:*", "lease"),
            ("run:*", "claimed"),
            ("run:*", "deadline"),
            ("run:*", "eta"),
            ("debt:*", "till"),
        ):
            for key in self._redis.scan_iter(self.key(pattern)):
                if self._redis.hget(key, field):
                    self._redis.hincrby(key, field, earlier)
        self._redis.incrby(self.key("heard"), earlier)
        for name in ("lead", "lock:j"):
            if (left := self._redis.pttl(self.key(name))) > 0:
                self._redis.pexpire(self.key(name), max(1, left + earlier))

    def pass_a_minute(self) -> None:
        """Let a bit more than a minute pass, in which others are heard of."""
        for _ in range(30):
            self.set_clock(timedelta(seconds=2.2))
            self.store.pulse("o", MINUTE, 0, 10, INFO)

    def close(self) -> None:
        self.store.close()
        self._redis.close()


@pytest.fixture
def dated(redis_url: str) -> Iterator[Dated]:
    made = Dated(redis_url)
    yield made
    made.close()


def claim(store: Store, number: int, **more: Any) -> Granted:
    made = Claim(
        job="j", fire_time=MARK + number * MINUTE, mark=MARK + (number - 1) * MINUTE, run_id=f"r{number}", message="{}"
    )
    return store.claim([replace(made, **more)], "o", None, MINUTE)[0].granted


def in_queue(store: Store, **more: Any) -> None:
    store.sight({"j": "print"}, MARK)
    assert claim(store, 1, queue="celery", **more) is Granted.RUN
    store.sent(["r1"])


def begun(store: Store) -> int:
    store.sight({"j": "print"}, MARK)
    assert claim(store, 1) is Granted.RUN
    store.sent(["r1"])
    answer = store.begin(
        Ticket(
            id="r1",
            job="j",
            fire_time=MARK + MINUTE,
            kind=Kind.SCHEDULED,
            worker="w",
            retries=0,
            redelivered=False,
            late=False,
            lock="j",
            limit=1,
            lease=MINUTE,
            asker="a",
        )
    )
    assert answer.admission is Admission.GO
    return answer.token


@pytest.mark.parametrize("step", [HOUR, -HOUR, timedelta(seconds=90), timedelta(seconds=-90)])
def test_a_run_keeps_its_lock_and_what_was_left_of_its_lease(dated: Dated, step: timedelta) -> None:
    store = dated.store
    token = begun(store)
    dated.set_clock(step)

    assert store.reap(10) == []
    assert claim(store, 2) is Granted.OVERLAP
    (lock,) = store.locks()
    assert timedelta(seconds=50) < lock.holders[0].expires_in <= MINUTE
    assert store.renew("w", [Renewal(id="r1", token=token, accepted=True)], MINUTE) == {"r1": Kept.OK}


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_run_whose_worker_died_is_lost_when_its_lease_is_over(dated: Dated, step: timedelta) -> None:
    store = dated.store
    begun(store)
    dated.set_clock(step)
    store.reap(10)
    dated.pass_a_minute()

    assert [record.state for record in store.reap(10)] == [State.LOST]
    assert claim(store, 2) is Granted.RUN


def test_a_leader_that_died_is_replaced_within_its_lease_after_the_clock_was_set_back(dated: Dated) -> None:
    store = dated.store
    store.pulse("dead", timedelta(seconds=10), 0, 10, INFO)
    dated.set_clock(-HOUR)

    answer = store.pulse("next", timedelta(seconds=10), 0, 10, INFO)

    assert answer.epoch is None
    # What has passed since the store last heard of someone is not known.
    assert answer.lead.expires_in <= timedelta(seconds=11)


def test_a_claim_that_was_never_sent_waits_no_longer_for_it(dated: Dated) -> None:
    store = dated.store
    store.sight({"j": "print"}, MARK)
    claim(store, 1)
    dated.set_clock(-HOUR)
    store.pulse("next", timedelta(seconds=10), 0, 10, INFO)

    # As above: some milliseconds are not known.
    found = eventually(lambda: store.unsent(timedelta(0), 10), 1.0)
    assert [unsent.id for unsent in found] == ["r1"]


@pytest.mark.parametrize("jumps", [False, True])
@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_run_in_its_queue_expires_when_its_queue_time_is_over(dated: Dated, step: timedelta, jumps: bool) -> None:
    store = dated.store
    in_queue(store, lock_ttl=MINUTE, jumps=jumps)
    dated.set_clock(step)
    if step < NOTHING:
        # Set ahead, the clock says that the time is over; only begun runs have a worker that could say otherwise.
        assert store.reap(10) == []
        assert [lock.name for lock in store.locks()] == ["j"]
        dated.pass_a_minute()

    assert [(record.state, record.reason) for record in store.reap(10)] == [(State.EXPIRED, "queue")]
    assert claim(store, 2) is Granted.RUN


def test_a_deadline_is_a_moment_whatever_the_clock_was_before(dated: Dated) -> None:
    store = dated.store
    in_queue(store, lock_ttl=3 * HOUR, deadline=store.now() + MINUTE)
    dated.set_clock(-HOUR)
    assert store.reap(10) == []
    dated.pass_a_minute()
    assert store.reap(10) == []


def test_a_countdown_is_a_moment_whatever_the_clock_was_before(dated: Dated) -> None:
    store = dated.store
    in_queue(store, lock_ttl=MINUTE, eta=store.now() + HOUR)
    dated.set_clock(-2 * HOUR)
    store.pulse("o", MINUTE, 0, 10, INFO)
    for _ in range(3):
        dated.pass_a_minute()
        store.register(WorkerInfo(name="w", queues=("celery",), version="1", pid=1, idle=timedelta(seconds=1)), MINUTE)

    assert (store.reap(10), store.unsent(MINUTE, 10, NOTHING)) == ([], [])
    assert [lock.name for lock in store.locks()] == ["j"]


@pytest.mark.parametrize("jumps", [False, True])
def test_a_message_that_got_lost_is_found_after_the_clock_was_set_back(dated: Dated, jumps: bool) -> None:
    store = dated.store
    in_queue(store, jumps=jumps)
    dated.set_clock(-HOUR)
    store.pulse("o", MINUTE, 0, 10, INFO)
    dated.set_clock(timedelta(seconds=2.2))
    store.register(WorkerInfo(name="w", queues=("celery",), version="1", pid=1, idle=timedelta(seconds=1)), MINUTE)

    assert [unsent.lost for unsent in store.unsent(MINUTE, 10, NOTHING)] == [True]


def test_a_message_that_was_missing_is_lost_as_soon_as_it_would_have_been(dated: Dated) -> None:
    store = dated.store
    in_queue(store)
    dated.set_clock(timedelta(seconds=2.2))
    store.register(WorkerInfo(name="w", queues=("celery",), version="1", pid=1, idle=timedelta(seconds=1)), MINUTE)
    dated.set_clock(-HOUR)
    store.pulse("o", MINUTE, 0, 10, INFO)
    dated.pass_a_minute()

    assert [unsent.lost for unsent in store.unsent(MINUTE, 10, MINUTE)] == [True]


def test_what_is_written_first_after_the_clock_was_set_back_is_not_old(dated: Dated) -> None:
    store = dated.store
    store.sight({"j": "print"}, MARK)
    store.pulse("o", MINUTE, 0, 10, INFO)
    assert claim(store, 1, queue="celery", lock_ttl=MINUTE) is Granted.RUN
    dated.set_clock(-HOUR)
    store.register(WorkerInfo(name="w", queues=("celery",), version="1", pid=1), MINUTE)
    store.sent(["r1"])
    store.pulse("o", MINUTE, 0, 10, INFO)

    assert [worker.name for worker in store.workers()] == ["w"]
    assert store.reap(10) == []


def test_who_died_is_forgotten_when_its_lease_is_over(dated: Dated) -> None:
    store = dated.store
    store.pulse("o", MINUTE, 0, 10, INFO)
    store.register(WorkerInfo(name="w", queues=("celery",), version="1", pid=1), MINUTE)
    dated.set_clock(-HOUR)
    store.pulse("o", MINUTE, 0, 10, INFO)
    assert [worker.name for worker in store.workers()] == ["w"]
    dated.pass_a_minute()

    assert store.workers() == []
