"""A Redis that was away: leases that ended meanwhile say nothing of their workers."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from uuid import uuid4

import pytest

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

MARK = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LEASE = timedelta(milliseconds=300)
SILENCE = 3.2
"""Seconds after which the store takes silence for an outage."""


@pytest.fixture
def store(redis_url: str) -> Store:
    return open_store(StoreOptions(url=redis_url, prefix=f"silence-{uuid4().hex}"))


def begun(store: Store) -> int:
    store.sight({"j": "print"}, MARK)
    claim = Claim(job="j", fire_time=MARK + MINUTE, mark=MARK, run_id="r1")
    assert store.claim([claim], "o", None, MINUTE)[0].granted is Granted.RUN
    ticket = Ticket(
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
        lease=LEASE,
        asker="a",
    )
    answer = store.begin(ticket)
    assert answer.admission is Admission.GO
    return answer.token


def next_claim(store: Store) -> Granted:
    claim = Claim(job="j", fire_time=MARK + 2 * MINUTE, mark=MARK + MINUTE, run_id="r2")
    return store.claim([claim], "o", None, MINUTE)[0].granted


def test_a_run_whose_lease_ended_in_a_silence_keeps_its_lock_until_its_worker_can_renew(store: Store) -> None:
    token = begun(store)
    time.sleep(SILENCE)
    store.pulse("o", MINUTE, 0, 10, SchedulerInfo(app="a", fingerprint="f", host="h", pid=1))

    assert store.reap(10) == []
    assert next_claim(store) is Granted.OVERLAP
    assert store.renew("w", [Renewal(id="r1", token=token, accepted=True)], MINUTE) == {"r1": Kept.OK}


def test_a_claim_or_a_begin_that_comes_first_gives_the_moment_too(store: Store) -> None:
    begun(store)
    time.sleep(SILENCE)

    assert next_claim(store) is Granted.OVERLAP


def test_without_a_silence_a_lease_that_ended_has_ended(store: Store) -> None:
    begun(store)
    time.sleep(LEASE.total_seconds() * 2)

    assert [record.state for record in store.reap(10)] == [State.LOST]
    assert next_claim(store) is Granted.RUN


def test_a_message_that_was_missing_before_a_silence_may_still_be_shown_after_it(store: Store) -> None:
    store.sight({"j": "print"}, MARK)
    store.claim([Claim(job="j", fire_time=MARK + MINUTE, mark=MARK, run_id="r1", queue="q")], "o", None, MINUTE)
    store.sent(["r1"])
    time.sleep(0.05)
    idle = timedelta(milliseconds=10)
    store.register(WorkerInfo(name="w", queues=("q",), version="1", pid=1, idle=idle), MINUTE)
    time.sleep(SILENCE)

    assert store.unsent(MINUTE, 10, LEASE) == []
    time.sleep(LEASE.total_seconds() * 2)
    assert [one.id for one in store.unsent(MINUTE, 10, LEASE)] == ["r1"]


def test_the_moment_is_given_once_between_two_renewals(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from celery_legion.stores.redis import scripts

    source = scripts.source
    shorter = {verb: source(verb).replace("3000, 10000", "300, 400") for verb in ("pulse", "reap", "claim")}
    digests = {verb: sha1(text.encode()).hexdigest() for verb, text in shorter.items()}
    known = scripts.digest
    begun(store)
    monkeypatch.setattr(scripts, "source", lambda verb: shorter.get(verb) or source(verb))
    monkeypatch.setattr(scripts, "digest", lambda verb: digests.get(verb) or known(verb))
    time.sleep(0.5)
    assert store.reap(10) == []
    time.sleep(0.5)

    assert [record.state for record in store.reap(10)] == [State.LOST]
