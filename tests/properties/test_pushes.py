"""Pushes of anyone: each is handled or put aside with a reason, and a good one among bad ones still runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from celery_legion.command import TASK
from celery_legion.command_builder import CommandBuilder, CommandTarget
from celery_legion.embedded import EmbeddedValkey
from celery_legion.engine import Engine
from celery_legion.job import Action, ActionKind, Job
from celery_legion.push import ID, KEYS, LONGEST, PushError, check_push, read_push, strict_json
from celery_legion.stores import open_store
from celery_legion.stores.base import Request, StoreOptions
from celery_legion.stores.memory import MemoryStore
from celery_legion.triggers import Cron
from tests.properties.effort import PATIENCE, effort
from tests.properties.json_values import HOSTILE, VALUES, bent, written
from tests.unit.engine.bench import Broker, FakeClock

pytestmark = PATIENCE

NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "job": st.sampled_from(("j", "c", "nobody", "", "j\0", "__class__")) | VALUES,
        "args": st.lists(VALUES, max_size=3) | VALUES,
        "kwargs": st.dictionaries(st.text(max_size=5), VALUES, max_size=3) | VALUES,
        "id": st.sampled_from(("i-1", "x" * 129, "a b")) | VALUES,
        "countdown": VALUES,
    },
)
GOOD = st.fixed_dictionaries(
    {"job": st.just("j")},
    optional={
        "args": st.lists(st.integers() | st.text(), max_size=3),
        "kwargs": st.dictionaries(st.text(max_size=5), st.none()),
    },
)
BODIES = st.text() | HOSTILE | written(NEARLY | VALUES) | bent(written(GOOD)) | bent(written(NEARLY))
RAW = BODIES.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary()
"""What another program may put into the inbox."""


IDS = st.from_regex(ID, fullmatch=True) | st.text(min_size=1, max_size=5)


def jobs() -> dict[str, Job]:
    return {
        "j": Job(name="j", action=Action("t"), trigger=Cron("* * * * *")),
        "c": Job(name="c", action=Action(TASK, ActionKind.COMMAND), trigger=Cron("* * * * *")),
    }


@given(BODIES | st.text(min_size=1, max_size=3).map(lambda text: text * LONGEST))
@effort(200)
def test_any_text_is_a_push_or_refused_with_its_error(body: str) -> None:
    known, modules = jobs(), set(sys.modules)
    try:
        push = read_push(body)
        job = check_push(push, known.get(push.job), known)
        said = None
    except PushError as exc:
        said = str(exc)
    assert set(sys.modules) == modules
    if said is not None:
        assert said.startswith("the push cannot be handled: ")
        assert len(said) < 2000
        return
    assert job.name == push.job
    # What was read can be written, and says the same.
    assert read_push(push.body()) == push
    assert set(json.loads(body)) <= set(KEYS)
    assert job.action.kind is not ActionKind.COMMAND or not (push.args or push.kwargs)


@given(st.text() | HOSTILE | written(VALUES) | bent(written(VALUES)))
@effort(100)
def test_strict_json_is_what_other_languages_read(text: str) -> None:
    try:
        value = strict_json(text)
    except (ValueError, RecursionError):
        return
    json.dumps(value, allow_nan=False)


class Bench:
    """A leader with one task and one command, and whatever lies in the inbox of its own store."""

    def __init__(self, make: Callable[..., Engine], broker: Broker, clock: FakeClock) -> None:
        self.broker = broker
        broker.sent.clear()
        self.store = MemoryStore(now=clock.now)
        self.leader = make(j={"task": "t", "schedule": 3600})
        self.leader.context.use_store(self.store)
        self.leader.context.registry.add(CommandBuilder(CommandTarget("true", "here:1")).hourly().name("c"))
        self.leader.tick()
        assert self.leader.epoch == 1

    def accounted(self, run_id: str) -> bool:
        """Whether a push became a run, was skipped since the job ran, or was put aside with a reason."""
        aside = {one.request.id: one.why for one in self.store.asides(100)}
        return bool(aside.get(run_id)) or self.store.get(run_id) is not None or run_id in self.store.refused


@pytest.fixture
def warm(make: Callable[..., Engine], broker: Broker, clock: FakeClock) -> None:
    """Handle one push of each sort, so that every module that handling takes is there."""
    bench = Bench(make, broker, clock)
    for number, body in enumerate(('{"job": "j"}', '{"job": "j"}', '{"job": "c"}', '{"job": "x"}', "[" * 100_000)):
        bench.store.push(Request(id=f"warm-{number}", body=body))
    bench.leader.tick()


@pytest.mark.usefixtures("warm")
@given(st.lists(st.tuples(BODIES, IDS), max_size=8), st.integers(0, 8))
@effort(60)
def test_each_push_runs_or_is_put_aside_and_a_good_one_runs_among_bad_ones(
    make: Callable[..., Engine], broker: Broker, clock: FakeClock, others: list[tuple[str, str]], place: int
) -> None:
    bench = Bench(make, broker, clock)
    good = Request(id="good", body='{"job": "j", "args": ["good"]}')
    requests = [Request(id=f"other:{name}", body=body) for body, name in others]
    for request in [*requests[:place], good, *requests[place:]]:
        bench.store.push(request)
    modules = set(sys.modules)
    bench.leader.tick()
    assert set(sys.modules) == modules
    assert bench.leader.epoch == 1, "what is wrong with a push costs no pass"
    assert bench.store.requests(100) == []
    assert all(bench.accounted(request.id) for request in [good, *requests])
    # The runs of one job keep each other away, so another good one before it may have taken its place.
    first = next(sent for sent in broker.sent if sent.job == "j")
    assert bench.store.get("good") is None or first.run_id == "good"
    assert {sent.message.task for sent in broker.sent} <= {"t", TASK}
    assert all(sent.message.args == ("c",) for sent in broker.sent if sent.message.task == TASK)


@pytest.fixture
def line(valkey: EmbeddedValkey) -> Iterator[redis.Redis]:
    made = redis.Redis.from_url(valkey.url(5))
    made.flushdb()
    yield made
    made.flushdb()
    made.close()


@given(st.lists(RAW, min_size=1, max_size=6), st.integers(0, 6))
@effort(40)
def test_whatever_lies_in_the_inbox_is_read_and_can_be_taken_out(
    valkey: EmbeddedValkey, line: redis.Redis, raws: list[bytes], place: int
) -> None:
    inbox = open_store(StoreOptions(url=valkey.url(5), prefix="props"))
    line.flushdb()
    for raw in [*raws[:place], b'{"job": "j", "id": "good-1"}', *raws[place:]]:
        line.lpush("{props}:inbox", raw)
    found = inbox.requests(100)
    assert len(found) == len(raws) + 1
    bodies = [request.body for request in found if request.id == "good-1"]
    assert '{"job": "j", "id": "good-1"}' in bodies
    assert inbox.requests(100) == found, "ids stay the same however often it is read"
    for request in found:
        assert ID.fullmatch(request.id)
    for number, request in enumerate({one.id: one for one in found}.values()):
        if number % 2:
            assert inbox.put_aside(request.id, "no reason")
        else:
            inbox.ack([request.id])
    assert inbox.requests(100) == []
    inbox.asides(100)
    inbox.close()
