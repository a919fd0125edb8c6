"""One value on a Redis that cannot be read harms what it is about, is named once, and nothing else."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from redis import Redis

from celery_legion.run import Kind, State
from celery_legion.stores import open_store
from celery_legion.stores.base import (
    Admission,
    Answer,
    Claim,
    Granted,
    Kept,
    Lapse,
    Outcome,
    Pause,
    Renewal,
    Retention,
    SchedulerInfo,
    Store,
    StoreOptions,
    Ticket,
    WorkerInfo,
)
from celery_legion.stores.redis import unreadable

MARK = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NO_TIME = timedelta(0)
INFO = SchedulerInfo(app="shop", fingerprint="print", host="alpha", pid=1)
DEEP = '{"v":' * 5_000 + "1" + "}" * 5_000
BAD = ["", "x", "-1", "1.5", "nan", "inf", "9" * 400, "9" * 16, "0x10", DEEP]


@dataclass
class Ground:
    """A store, and the server beside it."""

    store: Store
    server: Redis
    base: str

    def put(self, hash_: str, field: str, value: str) -> None:
        self.server.hset(self.base + hash_, field, value)

    def claim(self, *jobs: str, run: bool = True) -> list[Granted]:
        lapse = Lapse(state=State.SKIPPED, reason="paused", first=MARK + MINUTE, last=MARK + MINUTE)
        claims = [
            Claim(
                job=job,
                fire_time=MARK + MINUTE,
                mark=MARK,
                run_id=f"{job}-1" if run else None,
                lapses=() if run else (lapse,),
                owes=frozenset(State),
            )
            for job in jobs
        ]
        return [verdict.granted for verdict in self.store.claim(claims, "o", None, MINUTE)]

    def begin(self, job: str) -> Answer:
        return self.store.begin(
            Ticket(
                id=f"{job}-1",
                job=job,
                fire_time=MARK + MINUTE,
                kind=Kind.SCHEDULED,
                worker="w",
                retries=0,
                redelivered=False,
                late=False,
                lock=job,
                limit=1,
                lease=MINUTE,
                asker="a",
            )
        )


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unreadable, "_named", set())


@pytest.fixture
def ground(redis_url: str) -> Iterator[Ground]:
    prefix = f"unreadable-{uuid4().hex}"
    store = open_store(StoreOptions(url=redis_url, prefix=prefix))
    store.sight({"good": "print", "bad": "print"}, MARK)
    with Redis.from_url(redis_url, decode_responses=True) as server:
        yield Ground(store, server, f"{{{prefix}}}:")
    store.close()


def named(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("value", ["", "x", "[1]", "7", DEEP, '{"until": "soon"}', '{"since": 1e300}', '{"note": 5}'])
def test_a_pause_that_cannot_be_read_still_pauses_until_it_is_lifted(
    ground: Ground, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    good = Pause(name="good", since=MARK, note="maintenance")
    ground.store.pause(good)
    ground.put("pauses", "bad", value)
    found = ground.store.pauses()

    assert found["good"] == good
    assert (found["bad"].name, found["bad"].until) == ("bad", None)
    assert ground.store.states(["bad"])["bad"].pause == found["bad"]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    [said] = named(caplog)
    assert f"'{ground.base}pauses'" in said and "'bad'" in said and "resume" in said and "\n" not in said
    assert ground.store.resume("bad") is True
    assert list(ground.store.pauses()) == ["good"]


def test_of_a_pause_that_another_program_wrote_what_can_be_read_counts(ground: Ground) -> None:
    ground.put("pauses", "bad", json.dumps({"since": 0, "until": 10**13, "note": "a\ud800b"}))

    assert ground.store.pauses()["bad"].note == "a?b"
    assert ground.store.pauses()["bad"].until == datetime(2286, 11, 20, 17, 46, 40, tzinfo=UTC)


@pytest.mark.parametrize("value", [*BAD, "|||||", f"{'9' * 400}|o|run|", f"{'9' * 15}|o|run|", "-|o|run|"])
def test_a_mark_that_cannot_be_read_is_no_mark(ground: Ground, value: str, caplog: pytest.LogCaptureFixture) -> None:
    ground.put("marks", "bad", value)

    assert ground.claim("bad", "good") == [Granted.STALE, Granted.RUN]
    assert ground.store.states(["bad", "good"])["bad"].mark is None
    assert ground.store.sight({"bad": "print"}, MARK + MINUTE)["bad"].mark == MARK + MINUTE
    assert ground.store.states(["bad"])["bad"].mark == MARK + MINUTE
    assert any("'bad'" in said and f"'{ground.base}marks'" in said for said in named(caplog))
    ground.put("marks", "bad", value)
    assert ground.store.remind({"bad": MARK, "good": MARK}) == ["bad"]
    assert ground.claim("bad") == [Granted.RUN]


@pytest.mark.parametrize("value", [*BAD, "|||||", f"{'9' * 400}|print", f"{'9' * 15}|print"])
def test_an_anchor_that_cannot_be_read_is_set_anew(ground: Ground, value: str) -> None:
    ground.put("sights", "bad", value)
    assert ground.store.states(["bad", "good"])["good"].anchor == MARK
    later = MARK + MINUTE

    assert ground.store.sight({"bad": "print", "good": "print"}, later)["bad"].anchor == later
    assert ground.store.states(["bad"])["bad"].anchor == later


@pytest.mark.parametrize("value", BAD)
def test_a_version_that_is_none_begins_anew_above_those_that_were_seen(ground: Ground, value: str) -> None:
    store = ground.store
    seen = store.put("job", "{}")
    ground.server.set(f"{ground.base}version", value)
    pulse = store.pulse("o", MINUTE, seen, 10, INFO)
    changed = store.put("other", "{}")
    again = store.pulse("o", MINUTE, pulse.version, 10, INFO)

    assert changed == again.version
    assert "other" in again.changes
    if value not in {"-1", "1.5", "0x10"}:
        assert pulse.version > seen


def test_nor_is_one_of_another_type(ground: Ground) -> None:
    seen = ground.store.put("job", "{}")
    ground.server.delete(f"{ground.base}version")
    ground.server.lpush(f"{ground.base}version", "1")
    assert ground.store.pulse("o", MINUTE, seen, 10, INFO).version > seen
    assert ground.store.pulse("o", MINUTE, seen, 10, INFO).changes == ()
    ground.store.put("job", "{}")
    assert ground.store.pulse("o", MINUTE, seen, 10, INFO).changes == ("job",)


@pytest.mark.parametrize("name", ["heard", "epoch", "token", "output_bytes", "pushes"])
@pytest.mark.parametrize("value", ["", "x", "nan", "inf", "1.5", "9" * 400])
def test_no_counter_that_is_no_number_stops_anything(ground: Ground, name: str, value: str) -> None:
    store = ground.store
    ground.claim("good")
    first = ground.begin("good")
    store.progress("good-1", first.token, "so far")
    ground.server.set(ground.base + name, value)
    ground.server.lpush(f"{ground.base}inbox", '{"job": "good"}')

    assert store.pulse("o", MINUTE, 0, 10, INFO).epoch
    assert store.reap(10) == []
    assert store.progress("good-1", first.token, "some more")
    assert ground.claim("bad") == [Granted.RUN]
    second = ground.begin("bad")
    assert second.admission is Admission.GO
    assert second.token > first.token
    assert store.end("bad-1", second.token, Outcome(state=State.FAILED, output="text"), Retention())
    written = [ground.server.hget(f"{ground.base}run:{job}-1", "output") or "" for job in ("good", "bad")]
    assert ground.server.get(f"{ground.base}output_bytes") == str(sum(map(len, written)))


@pytest.mark.parametrize("name", ["fire", "kind", "state", "attempt", "claimed", "exit", "token"])
@pytest.mark.parametrize("value", ["x", "nan", "9" * 5_000])
def test_a_run_that_cannot_be_read_is_passed_over_and_named_once(
    ground: Ground, name: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = ground.store
    ground.claim("good", "bad")
    ground.put("run:bad-1", name, value)

    for _ in range(2):
        assert [record.job for record in store.runs(None, 10)] == ["good"]
        assert store.states(["bad", "good"])["bad"].last is None
        assert store.get("bad-1") is None
    assert [said for said in named(caplog) if f"'{ground.base}run:bad-1'" in said] == named(caplog)
    assert len(named(caplog)) == 1
    assert "delete" in named(caplog)[0]
    if name != "exit" and name != "attempt":
        assert "good-1" in [unsent.id for unsent in store.unsent(NO_TIME, 10)]


@pytest.mark.parametrize(
    "name", ["job", "fire", "kind", "lock", "limit", "ttl", "visibility", "lease", "late", "spare"]
)
@pytest.mark.parametrize("value", [None, "x", "nan", "inf", "9" * 400])
def test_a_run_that_lacks_what_it_must_have_holds_up_no_other(ground: Ground, name: str, value: str | None) -> None:
    store = ground.store
    ground.claim("good", "bad")
    good, bad = ground.begin("good"), ground.begin("bad")
    store.progress("bad-1", bad.token, "text")
    key = f"{ground.base}run:bad-1"
    ground.server.hdel(key, name) if value is None else ground.server.hset(key, name, value)
    # As after a silence, when each lease is looked at.
    ground.server.set(f"{ground.base}heard", 1)
    renewals = [
        Renewal(id=f"{job}-1", token=token.token, accepted=True) for job, token in [("bad", bad), ("good", good)]
    ]
    assert store.renew("w", renewals, MINUTE)["good-1"] is Kept.OK
    ground.server.set(f"{ground.base}heard", int(store.now().timestamp() * 1000) + 60_000)
    assert store.pulse("o", MINUTE, 0, 10, INFO).epoch
    for job in ("bad", "good"):
        ground.server.zadd(f"{ground.base}live", {f"{job}-1": 1})
    ground.server.set(f"{ground.base}heard", int(store.now().timestamp() * 1000))
    assert "good-1" in {record.id for record in store.reap(10)}
    assert ground.server.zcard(f"{ground.base}live") == 0


def test_neither_does_a_claimed_one(ground: Ground) -> None:
    ground.claim("bad", "good")
    ground.server.hdel(f"{ground.base}run:bad-1", "ttl", "deadline", "watched", "lock", "limit")
    ground.store.sent(["bad-1", "good-1"])
    good = ground.store.get("good-1")
    assert good is not None and good.state is State.SENT


@pytest.mark.parametrize("value", ["{", DEEP, "{}", '{"state": "skipped", "reason": "paused", "kind": "scheduled"}'])
def test_a_lapse_that_cannot_be_read_is_passed_over(
    ground: Ground, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    ground.server.lpush(f"{ground.base}ledger:bad", value)
    ground.server.zadd(f"{ground.base}recent", {"bad": 9e15})
    assert ground.store.runs("bad", 10) == []
    assert ground.store.states(["bad"])["bad"].latest is None
    assert len(named(caplog)) == 1
    assert f"'{ground.base}ledger:bad'" in named(caplog)[0]

    assert ground.claim("bad", "good", run=False) == [Granted.LAPSED] * 2
    assert {record.job for record in ground.store.runs(None, 1)} <= {"good", "bad"}
    assert sorted(record.job for record in ground.store.runs(None, 10)) == ["bad", "good"]


@pytest.mark.parametrize(
    ("field", "value"), [("record", "x"), ("record", DEEP), ("record", '{"id": 5}'), ("since", "x"), ("sends", "x")]
)
def test_a_debt_that_cannot_be_read_keeps_no_other_from_being_paid(ground: Ground, field: str, value: str) -> None:
    ground.claim("bad", "good", run=False)
    bad, good = sorted(ground.server.zrange(f"{ground.base}owed", 0, -1))
    ground.put(f"debt:{bad}", field, value)
    found = [debt.id for debt in ground.store.owed(10, MINUTE)]

    assert found == [good] if field == "record" else sorted(found) == [bad, good]
    taken = ground.store.take(bad, "w", MINUTE)
    assert taken is None if field == "record" else taken is not None
    assert ground.store.take(good, "w", MINUTE) is not None
    ground.store.hooked(bad, "error")
    assert ground.store.hooked(good, None)


def test_what_is_noted_of_the_last_success_keeps_no_run_from_beginning_or_ending(ground: Ground) -> None:
    ground.put("wins", "good", "x")
    ground.claim("good")
    answer = ground.begin("good")

    assert (answer.admission, answer.previous_success) == (Admission.GO, None)
    assert ground.store.end("good-1", answer.token, Outcome(state=State.SUCCEEDED), Retention())
    assert ground.server.hget(f"{ground.base}wins", "good") == str(int((MARK + MINUTE).timestamp() * 1000))


@pytest.mark.parametrize("value", ["x", DEEP, "[1]", '{"pid": "x"}', '{"app": 5}', '{"queues": 5, "idle": 1e999}'])
def test_a_scheduler_or_worker_that_cannot_be_read_is_passed_over(ground: Ground, value: str) -> None:
    store = ground.store
    store.pulse("o", MINUTE, 0, 10, INFO)
    store.register(WorkerInfo(name="w", queues=("celery",), version="1", pid=1), MINUTE)
    for kind in ("scheduler", "worker"):
        ground.server.zadd(f"{ground.base}{kind}s", {"bad": 9e15})
        ground.put(kind, "bad", value)

    assert "o" in [lead.owner for lead in store.schedulers()]
    assert "w" in [worker.name for worker in store.workers()]
    assert store.hand_back("bad") == []


def test_an_aside_that_cannot_be_read_is_passed_over(ground: Ground) -> None:
    ground.server.lpush(f"{ground.base}inbox", '{"job": "a", "id": "p1"}')
    [request] = ground.store.requests(10)
    ground.store.put_aside(request.id, "why")
    for value in ("x", "[1]", '[1, "a", "b"]', '["nan", "a", "b", "c"]', "[1, 2, 3, 4]", DEEP):
        ground.server.lpush(f"{ground.base}aside", value)

    assert [aside.request.id for aside in ground.store.asides(100)] == ["p1"]


def test_what_asks_for_an_interruption_and_cannot_be_read_asks_for_none(ground: Ground) -> None:
    ground.claim("good")
    ground.put("run:good-1", "stop", "x")
    assert ground.store.interruption("good-1") is None


def test_a_lock_is_shown_whatever_its_holder_is_said_to_be(ground: Ground) -> None:
    ground.claim("good", "bad")
    ground.put("run:bad-1", "state", "x")
    ground.server.zadd(f"{ground.base}lock:bad", {"bad-1": 1e18})
    locks = {lock.name: lock.holders[0].state for lock in ground.store.locks()}
    assert locks == {"good": State.CLAIMED, "bad": State.LOST}


def test_of_a_leader_s_record_what_can_be_read_counts(ground: Ground) -> None:
    ground.store.pulse("o", MINUTE, 0, 10, INFO)
    ground.server.hset(f"{ground.base}lead", mapping={"epoch": "x", "pid": "x", "done": "x"})
    ground.server.hdel(f"{ground.base}lead", "host")
    standby = ground.store.pulse("other", MINUTE, 0, 10, INFO)
    assert (standby.epoch, standby.lead.owner, standby.lead.epoch, standby.lead.info.pid) == (None, "o", 0, 0)
    assert standby.lead.done is None
    # Its lease runs out; then there is one again.
    assert ground.store.pulse("o", MINUTE, 0, 10, INFO).epoch is None


def test_no_more_keys_are_named_than_a_log_can_bear(ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(2_000):
        ground.server.hset(f"{ground.base}pauses", f"job-{number}", "x")
    assert len(ground.store.pauses()) == 2_000
    assert 0 < len(named(caplog)) <= 1_001
