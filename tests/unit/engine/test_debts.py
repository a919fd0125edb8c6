"""Debts of hooks: what nobody runs where a run ends is sent to a worker, again and again until it is paid."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from celery_legion.engine import Dispatch, Engine
from celery_legion.engine.debts import PATIENCE, Debts
from celery_legion.engine.publisher import BATCH_LIMIT
from celery_legion.errors import BrokerUnavailableError
from celery_legion.header import KEY
from celery_legion.hook import TASK
from celery_legion.run import State
from celery_legion.stores.base import Claim, Lapse, Outcome, Request
from celery_legion.stores.memory import MemoryStore
from tests.unit.engine.bench import MINUTE, START, Broker, FakeClock, single_pass

ENTRY = {"task": "t", "schedule": 7 * 24 * 3600}


def owe(engine: Engine, store: MemoryStore, name: str = "p1", state: State = State.FAILED) -> None:
    """Push job "j" and end its run before a worker has seen it."""
    store.push(Request(id=name, body='{"job": "j"}'))
    engine.tick()
    assert store.end(name, 0, Outcome(state=state), store.retention)


def hooks(broker: Broker) -> list[Dispatch]:
    return [dispatch for dispatch in broker.sent if dispatch.message.task == TASK]


@pytest.fixture
def engine(make: Callable[..., Engine]) -> Engine:
    made = make(j={**ENTRY, "options": {"queue": "slow"}})
    registry = made.context.registry
    registry.hooks = registry.hooks.plus("on_failure", lambda: None)
    made.tick()
    return made


def test_a_debt_is_sent_to_its_job_s_queue_by_its_id_alone(engine: Engine, broker: Broker, store: MemoryStore) -> None:
    owe(engine, store)
    engine.tick()

    [sent] = hooks(broker)
    assert sent.message.args == ("p1:0", "j")
    assert dict(sent.message.kwargs) == {}
    assert dict(sent.message.options) == {
        "queue": "slow",
        "shadow": "hooks of j",
        "ignore_result": True,
        "expires": 240.0,
    }
    assert sent.header is None
    options = sent.options()
    assert KEY not in options["headers"]
    assert options["task_id"] == sent.run_id != "p1"


def test_a_debt_of_a_job_without_a_queue_goes_where_its_messages_go(
    make: Callable[..., Engine], broker: Broker, store: MemoryStore
) -> None:
    engine = make(j=ENTRY)
    engine.context.app.conf.task_default_queue = "usual"
    engine.context.registry.hooks = engine.context.registry.hooks.plus("after", lambda: None)
    engine.tick()
    owe(engine, store)
    engine.tick()

    [sent] = hooks(broker)
    assert sent.message.options["queue"] == "usual"


def test_a_debt_of_a_job_that_is_not_known_any_more_goes_to_the_default_queue(
    engine: Engine, broker: Broker, store: MemoryStore
) -> None:
    lapse = Lapse(state=State.SKIPPED, reason="paused", first=START, last=START)
    store.sight({"gone": "print"}, START - MINUTE)
    claim = Claim(job="gone", fire_time=START, mark=START - MINUTE, lapses=(lapse,), owes=frozenset({State.SKIPPED}))
    store.claim([claim], "once", None, MINUTE)
    engine.tick()

    [sent] = hooks(broker)
    assert "queue" not in sent.message.options
    assert sent.message.options["shadow"] == "hooks of gone"


def test_an_ending_without_hooks_sends_nothing(engine: Engine, broker: Broker, store: MemoryStore) -> None:
    owe(engine, store, state=State.SUCCEEDED)
    engine.tick()

    assert hooks(broker) == []
    assert broker.ids == ["p1"]


def test_a_schedule_without_a_worker_of_ours_owes_nothing(
    make: Callable[..., Engine], broker: Broker, store: MemoryStore
) -> None:
    engine = make(guarded=False, j=ENTRY)
    engine.context.registry.hooks = engine.context.registry.hooks.plus("after", lambda: None)
    engine.tick()
    store.push(Request(id="p1", body='{"job": "j"}'))
    engine.tick()
    store.end("p1", 0, Outcome(state=State.FAILED), store.retention)
    engine.tick()

    assert broker.ids == ["p1"]


def test_a_debt_that_is_sent_is_not_sent_again_before_its_time(
    engine: Engine, clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    owe(engine, store)
    for _ in range(5):
        engine.tick()
    clock.advance(PATIENCE - timedelta(seconds=1))
    engine.tick()

    assert len(hooks(broker)) == 1


def test_a_debt_that_no_worker_takes_is_sent_again_with_pauses_that_grow(
    engine: Engine, clock: FakeClock, broker: Broker, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    owe(engine, store)
    engine.tick()
    assert "sent again" not in caplog.text
    counts = []
    for _ in range(4):
        clock.advance(PATIENCE)
        engine.tick()
        counts.append(len(hooks(broker)))

    assert counts == [2, 2, 3, 3]
    assert {sent.message.args for sent in hooks(broker)} == {("p1:0", "j")}
    assert len({sent.run_id for sent in hooks(broker)}) == 3
    assert "hooks of j for p1:0 are sent again" in caplog.text


def test_a_debt_that_is_paid_is_not_sent_again(
    engine: Engine, clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    owe(engine, store)
    engine.tick()
    [sent] = hooks(broker)
    assert store.take(sent.message.args[0], "worker", MINUTE) is not None
    assert store.hooked(sent.message.args[0], None) is True
    clock.advance(timedelta(hours=2))
    engine.tick()

    assert len(hooks(broker)) == 1


def test_nothing_is_put_off_while_the_broker_is_away(
    engine: Engine, clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    owe(engine, store)
    store.push(Request(id="p2", body='{"job": "j"}'))
    broker.down = True
    engine.tick()
    for _ in range(5):
        clock.advance(timedelta(seconds=2))
        engine.tick()
    assert hooks(broker) == []

    broker.down = False
    clock.advance(timedelta(seconds=2))
    engine.tick()
    engine.tick()
    [sent] = hooks(broker)
    assert sent.message.args == ("p1:0", "j")
    assert store.owed(10, timedelta(0)) == []


def test_a_single_pass_sends_debts_too(engine: Engine, broker: Broker, store: MemoryStore) -> None:
    owe(engine, store)
    single_pass(engine)

    assert [sent.message.args for sent in hooks(broker)] == [("p1:0", "j")]


def test_a_debt_is_sent_when_the_broker_is_back_though_no_run_is(
    engine: Engine, clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    owe(engine, store)
    broker.down = True
    engine.tick()
    broker.down = False
    for _ in range(10):
        clock.advance(PATIENCE)
        engine.tick()

    assert [sent.message.args for sent in hooks(broker)] != []


def test_a_broker_that_fails_at_a_debt_stops_no_pass(
    engine: Engine, clock: FakeClock, broker: Broker, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    owe(engine, store)
    broker.down = True
    engine.tick()
    assert "cannot be reached" in caplog.text

    broker.down = False
    clock.advance(PATIENCE)
    store.push(Request(id="p2", body='{"job": "j"}'))
    engine.tick()
    engine.tick()
    assert broker.ids[:2] == ["p1", "p2"]
    assert [sent.message.args for sent in hooks(broker)] == [("p1:0", "j")]


class FakePublisher:
    """Takes what it is given, unless it is broken, pausing, or about to fail."""

    def __init__(self, broken: bool = False, ready: bool = True, fails: bool = False) -> None:
        self.broken, self._ready, self.fails = broken, ready, fails
        self.published: list[list[Dispatch]] = []

    def ready(self) -> bool:
        return self._ready

    def publish(self, dispatches: list[Dispatch], send: Any) -> list[str]:
        if self.fails:
            raise BrokerUnavailableError("amqp://", "refused")
        self.published.append(dispatches)
        for dispatch in dispatches:
            send(dispatch, None)
        return []


def indebted(clock: FakeClock, count: int = 1) -> MemoryStore:
    """Return a store that owes for *count* skips, each of a job of its own."""
    store = MemoryStore(now=clock.now)
    names = [f"job-{number}" for number in range(count)]
    store.sight(dict.fromkeys(names, "print"), START - MINUTE)
    lapse = Lapse(state=State.SKIPPED, reason="paused", first=START, last=START)
    for name in names:
        owes = frozenset({State.SKIPPED})
        claim = Claim(job=name, fire_time=START, mark=START - MINUTE, lapses=(lapse,), owes=owes)
        store.claim([claim], "beat", None, MINUTE)
    return store


def accept(dispatch: Dispatch, producer: object) -> None:
    dispatch.accepted = True


@pytest.mark.parametrize(
    "state",
    [{"broken": True, "fails": True}, {"broken": True, "ready": False}, {"ready": False}],
    ids=["broken", "broken and pausing", "pausing"],
)
def test_nothing_is_taken_from_the_store_that_could_not_be_sent(clock: FakeClock, state: dict[str, bool]) -> None:
    store = indebted(clock)
    publisher: Any = FakePublisher(**state)

    with suppress(BrokerUnavailableError):
        assert Debts(lambda: store, publisher, accept, lambda name: None).send() == 0
    [debt] = store.owed(10, timedelta(0))
    assert debt.sends == 1
    assert publisher.published == []


def test_at_most_a_batch_is_sent_at_once(clock: FakeClock) -> None:
    store = indebted(clock, BATCH_LIMIT + 1)
    publisher: Any = FakePublisher()
    debts = Debts(lambda: store, publisher, accept, lambda name: f"queue of {name}")

    assert [debts.send(), debts.send(), debts.send()] == [BATCH_LIMIT, 1, 0]
    assert [len(some) for some in publisher.published] == [BATCH_LIMIT, 1]
    sent = [one for some in publisher.published for one in some]
    assert len({one.message.args for one in sent}) == BATCH_LIMIT + 1
    assert all(one.message.options["queue"] == f"queue of {one.job.removeprefix('hooks of ')}" for one in sent)


def test_a_batch_that_fails_is_due_again_after_a_while(clock: FakeClock) -> None:
    store = indebted(clock)
    publisher: Any = FakePublisher(fails=True)
    debts = Debts(lambda: store, publisher, accept, lambda name: None)
    with pytest.raises(BrokerUnavailableError):
        debts.send()

    publisher.fails = False
    assert debts.send() == 0
    clock.advance(PATIENCE)
    assert debts.send() == 1


def test_a_debt_that_cannot_be_sent_for_its_own_sake_is_logged(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(dispatch: Dispatch, producer: object) -> None:
        dispatch.error = LookupError("no such queue")

    store = indebted(clock)
    publisher: Any = FakePublisher()

    assert Debts(lambda: store, publisher, refuse, lambda name: None).send() == 1
    assert "hooks of job-0 are not sent: LookupError: no such queue" in caplog.text
