"""Messages that seem to be lost where a worker may have them that does not report."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import pytest

from celery_legion.engine import Engine
from celery_legion.stores.base import WorkerInfo
from celery_legion.stores.memory import MemoryStore
from tests.unit.engine.bench import MINUTE, Broker, FakeClock

SECOND = timedelta(seconds=1)
LEASE = timedelta(seconds=60)


def idle(store: MemoryStore, *queues: str, name: str = "w", remote: bool = True) -> None:
    """Let the queues' worker say that nothing is in them."""
    info = WorkerInfo(name=name, queues=queues or ("celery",), version="1", pid=1, idle=SECOND, remote=remote)
    store.register(info, 5 * MINUTE)


def look(engine: Engine, clock: FakeClock) -> None:
    """Let the engine lead, and some seconds later look for what got lost."""
    engine.tick()
    clock.advance(6 * SECOND)
    engine.tick()


def lose(engine: Engine, clock: FakeClock, store: MemoryStore, *queues: str) -> None:
    """Let each job have a run sent, and its message get lost."""
    engine.tick()
    clock.advance(MINUTE)
    engine.tick()
    clock.advance(2 * SECOND)
    idle(store, *queues)


@pytest.mark.parametrize(
    ("workers", "why"),
    [
        ({"w": {"celery"}, "old": {"celery"}}, "worker old of queue celery has no Legion(app) and may have it"),
        ({"w": {"mails"}}, "no worker of queue celery answers Celery's remote control"),
        ({}, "no worker of queue celery answers Celery's remote control"),
    ],
    ids=["a stranger", "another queue", "nobody"],
)
def test_where_a_worker_may_have_it_that_does_not_report_it_is_not_sent_again(
    make: Callable[..., Engine],
    clock: FakeClock,
    broker: Broker,
    store: MemoryStore,
    caplog: pytest.LogCaptureFixture,
    workers: dict[str, set[str]],
    why: str,
) -> None:
    broker.workers = workers
    engine = make()
    lose(engine, clock, store)
    for _ in range(30):
        clock.advance(5 * SECOND)
        idle(store)
        engine.tick()

    assert len(broker.sent) == 1
    assert caplog.text.count(f"seems to be lost, but {why}") == 1

    broker.workers = {"w": {"celery"}, "mailer": {"mails"}}
    clock.advance(10 * MINUTE)
    idle(store)
    look(engine, clock)
    assert len(broker.sent) == 2


def test_workers_that_answer_no_remote_control_are_believed_through_the_store(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    broker.workers = {}
    engine = make()
    lose(engine, clock, store)
    idle(store, remote=False)
    clock.advance(LEASE)
    idle(store, remote=False)
    look(engine, clock)

    assert len(broker.sent) == 2
    assert "not sent again" not in caplog.text


def test_where_the_broker_counts_more_consumers_than_the_store_knows_it_is_not_sent_again(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    broker.workers, broker.counted = {}, 2
    engine = make()
    lose(engine, clock, store)
    idle(store, remote=False)
    clock.advance(LEASE)
    look(engine, clock)
    assert len(broker.sent) == 1
    assert "queue celery has 2 consumers, of which 1 are workers with Legion(app), and another may" in caplog.text

    broker.counted = 1
    idle(store, remote=False)
    clock.advance(10 * MINUTE)
    idle(store, remote=False)
    look(engine, clock)
    assert len(broker.sent) == 2


@pytest.mark.parametrize(
    ("answering", "other"),
    [
        pytest.param({"old": {"celery"}}, None, id="a stranger answers"),
        pytest.param({}, ("celery", True), id="another worker should have answered"),
        pytest.param({}, ("mails", False), id="none of the queue is there any more"),
    ],
)
def test_where_some_do_and_do_not_answer_it_is_not_sent_again(
    make: Callable[..., Engine],
    clock: FakeClock,
    broker: Broker,
    store: MemoryStore,
    answering: dict[str, set[str]],
    other: tuple[str, bool] | None,
) -> None:
    broker.workers = answering
    engine = make()
    lose(engine, clock, store)
    if other is None or other[0] == "celery":
        idle(store, remote=False)
    else:
        store.hand_back("w")
    if other is not None:
        idle(store, other[0], name="other", remote=other[1])
    clock.advance(LEASE)
    look(engine, clock)

    assert (len(broker.sent), broker.asked) == (1, 1)


def test_workers_that_come_back_are_soon_asked_again_and_those_that_never_answer_ever_less(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    broker.workers = {}
    engine = make(j={"task": "t", "schedule": 3600})
    engine.tick()
    clock.advance(60 * MINUTE)
    engine.tick()
    clock.advance(2 * SECOND)
    idle(store)
    asked = []
    for _ in range(400):
        clock.advance(5 * SECOND)
        # Whatever the store thinks of its turn.
        store.missing.update(dict.fromkeys(store.missing, clock.now() - 2 * LEASE))
        before = broker.asked
        engine.tick()
        if broker.asked > before:
            asked.append(clock.monotonic())
    pauses = [round(later - earlier) for earlier, later in pairwise(asked)]
    assert pauses[:7] == [10, 20, 40, 80, 160, 300, 300]
    assert len(broker.sent) == 1

    broker.workers = {"w": {"celery"}}
    for _ in range(70):
        clock.advance(5 * SECOND)
        if len(broker.sent) == 1:
            idle(store)
            store.missing.update(dict.fromkeys(store.missing, clock.now() - 2 * LEASE))
            engine.tick()
    assert len(broker.sent) == 2


def test_many_of_them_do_not_keep_others_from_being_sent_again(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    queues = {f"strange{number}": "strange" for number in range(450)} | {"fine": "fine"}
    engine = make(
        **{name: {"task": "t", "schedule": 3600, "options": {"queue": queue}} for name, queue in queues.items()}
    )
    broker.workers = {"w": {"strange", "fine"}, "old": {"strange"}}
    engine.tick()
    clock.advance(60 * MINUTE)
    engine.tick()
    clock.advance(2 * SECOND)
    idle(store, "strange", "fine")
    # The fine one is the last to be missing.
    store.missing["fine"] = store.missing.pop(run := next(r.id for r in store.all_runs.values() if r.job == "fine"))
    store.missing[run] = store.missing.pop("fine") + SECOND
    sent = len(broker.sent)
    clock.advance(LEASE)
    look(engine, clock)

    assert [dispatch.job for dispatch in broker.sent[sent:]] == ["fine"]


def test_the_workers_are_asked_once_for_all_queues(
    make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
) -> None:
    queues = [f"q{number}" for number in range(30)]
    engine = make(**{queue: {"task": "t", "schedule": 60, "options": {"queue": queue}} for queue in queues})
    broker.workers = {"w": set(queues), "old": {"q7"}}
    lose(engine, clock, store, *queues)
    sent = len(broker.sent)
    clock.advance(LEASE)
    look(engine, clock)

    again = {dispatch.job for dispatch in broker.sent[:sent]} & {dispatch.job for dispatch in broker.sent[sent:]}
    assert again == set(queues) - {"q7"}
    assert broker.asked == 1
