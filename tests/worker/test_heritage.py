"""What a message inherits from the run whose task publishes it, and what it does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import chain, chord, group, signals
from celery.app.task import Context
from celery.exceptions import Ignore, Retry
from celery.worker import state

from celery_legion.header import KEY
from celery_legion.run import State
from celery_legion.worker.succession import PART, Part, read_part
from tests.worker.doubles import GO, HEADER, Bench
from tests.worker.test_recorder import executing

RAW = {**HEADER.dump(), "token": 7, "attempt": 2, "previous": None}
PART_OF_IT = {"run": "run-1", "token": 7, "ttl": 3_600_000}


@contextmanager
def publishing(bench: Bench) -> Iterator[list[tuple[dict[str, Any], Any]]]:
    """Connect what marks messages, and note what is published."""
    sent: list[tuple[dict[str, Any], Any]] = []
    bench.recorder.succession.connect()
    bench.app.conf.result_backend = "cache+memory://"

    def note(headers: Any, body: Any, **_: Any) -> None:
        sent.append((dict(headers), json.loads(json.dumps(body))))

    signals.after_task_publish.connect(note)
    try:
        yield sent
    finally:
        signals.after_task_publish.disconnect(note)


def step(bench: Bench, name: str = "step", **options: Any) -> Any:
    return bench.app.signature(name, immutable=True).set(**options)


@pytest.fixture
def bench() -> Bench:
    bench = Bench(GO)

    @bench.app.task(name="step", shared=False)
    def step() -> None: ...

    return bench


@pytest.mark.parametrize(
    "headers", [{}, {"headers": {"dd": "1"}}, {"headers": {"dd": "1", KEY: {"v": 1}}}, {"headers": None}]
)
@pytest.mark.parametrize("given", [{}, {"headers": {"own": 1}}, {"headers": {"headers": {"own": 1}}}])
def test_a_retry_carries_the_runs_header_whatever_other_headers_it_has(
    bench: Bench, headers: dict[str, Any], given: dict[str, Any]
) -> None:
    fields = {"called_directly": False, "args": (), "kwargs": {}, **headers}
    with publishing(bench) as sent, executing(bench, **fields), pytest.raises(Retry):
        bench.task.retry(countdown=3, **given)
    [(published, _)] = sent
    assert published[KEY] == RAW
    assert (published["id"], published["retries"]) == ("run-1", 1)


def test_a_retry_by_the_main_process_finds_the_header_among_nested_ones(bench: Bench) -> None:
    request = bench.request(headers={"dd": "1"})
    state.reserved_requests.add(request)
    assert not bench.gate.refuses(request)
    assert request.request_dict["headers"]["dd"] == "1"
    assert request.request_dict["headers"][KEY] == request.request_dict[KEY]


@pytest.mark.parametrize(("retries", "past"), [(0, 0), (2, 0), (1, 3)])
def test_a_replacement_asks_as_the_runs_next_retry(bench: Bench, retries: int, past: int) -> None:
    raw = {**RAW, "past": past} if past else RAW
    with publishing(bench) as sent, executing(bench, retries=retries, legion=raw) as context:
        with pytest.raises(Ignore) as raised:
            bench.task.replace(step(bench))
        bench.recorder.on_postrun(task=bench.task, state="IGNORED", retval=raised.value)
    [(published, _)] = sent
    assert published["id"] == context.id == "run-1"
    assert published[KEY] == {**raw, "past": past + retries + 1}
    assert bench.store.ended == []
    assert [(run, token, number) for run, token, _, number in bench.store.parked] == [("run-1", 7, past + retries + 1)]
    received = bench.request(header=published[KEY], retries=0)
    state.reserved_requests.add(received)
    assert not bench.gate.refuses(received)
    assert bench.store.tickets[-1].retries == past + retries + 1


def marks(signature: dict[str, Any]) -> Any:
    """Return which mark each message of a canvas has, in its form."""
    match signature["task"]:
        case "celery.chain" | "celery.group":
            return [marks(one) for one in signature["kwargs"]["tasks"]]
        case "celery.chord":
            return [marks(signature["kwargs"]["header"]), marks(signature["kwargs"]["body"])]
    headers = signature["options"]["headers"]
    if KEY in headers:
        assert signature["options"]["task_id"] == "run-1"
        return "run"
    assert headers[PART] == PART_OF_IT
    return "step"


def test_the_steps_of_a_canvas_say_whose_they_are_and_its_last_message_is_the_runs(bench: Bench) -> None:
    one = step(bench)
    canvas = chain(one, group(one, chain(one, one)), one, step(bench))
    with publishing(bench) as sent, executing(bench):
        with pytest.raises(Ignore) as raised:
            bench.task.replace(canvas)
        bench.recorder.on_postrun(task=bench.task, state="IGNORED", retval=raised.value)
    [(headers, body)] = sent
    assert KEY not in headers
    assert headers[PART] == PART_OF_IT
    following = [marks(signature) for signature in reversed(body[2]["chain"])]
    assert json.dumps(following).count('"step"') == 4
    assert following[-1] == "run" or json.dumps(following).count('"run"') == 1
    # Between two steps nobody holds the run: its lock is kept as for a message that waits in a queue.
    assert [(renewal.id, renewal.token) for renewal in bench.store.renewed] == [("run-1", 0)]


def test_a_chords_members_carry_its_body_with_the_runs_header(bench: Bench) -> None:
    with publishing(bench) as sent, executing(bench), pytest.raises(Ignore):
        bench.task.replace(chord([step(bench), step(bench)], step(bench)))
    members = [(headers, body) for headers, body in sent if headers["task"] == "step"]
    assert len(members) == 2
    for headers, body in members:
        assert headers[PART] == PART_OF_IT
        assert marks(body[2]["chord"]) == "run"


def test_a_canvas_that_is_used_again_is_not_marked_itself(bench: Bench) -> None:
    canvas = chain(step(bench), step(bench))
    with publishing(bench), executing(bench), pytest.raises(Ignore):
        bench.task.replace(canvas)
    assert KEY not in json.dumps(canvas)
    assert PART not in json.dumps(canvas)


@pytest.mark.parametrize("same_id", [False, True])
def test_what_a_run_sends_besides_inherits_nothing(bench: Bench, same_id: bool) -> None:
    with publishing(bench) as sent, executing(bench):
        step(bench).apply_async(task_id="run-1" if same_id else "other", headers={"own": 1})
    with publishing(bench) as outside:
        step(bench).apply_async()
    assert not {KEY, PART} & (sent[0][0].keys() | outside[0][0].keys())


def test_a_steps_own_retry_and_replacement_stay_its_runs(bench: Bench) -> None:
    fields = {"id": "step-1", "legion": None, PART: PART_OF_IT, "called_directly": False, "args": (), "kwargs": {}}
    with publishing(bench) as sent, executing(bench, **fields, headers={"dd": 1}):
        with pytest.raises(Retry):
            bench.task.retry(countdown=3)
        with pytest.raises(Ignore):
            bench.task.replace(chain(step(bench), step(bench)))
        step(bench).apply_async()
    marked = [headers.get(PART) for headers, _ in sent]
    assert marked == [PART_OF_IT, PART_OF_IT, None]
    assert [marks(one) for one in sent[1][1][2]["chain"]] == ["step"]


@pytest.mark.parametrize(
    ("state", "grouped", "ended", "kept"),
    [("SUCCESS", False, [], 1), ("RETRY", False, [], 1), ("FAILURE", False, [0], 0), ("FAILURE", True, [60], 0)],
)
def test_a_step_keeps_the_run_going_or_ends_it(
    bench: Bench, state: str, grouped: bool, ended: list[float], kept: int
) -> None:
    fields = {"id": "step-1", "legion": None, PART: PART_OF_IT, "group": "g" if grouped else None}
    with executing(bench, **fields):
        bench.recorder.succession.on_postrun(bench.task, state, ValueError("no") if state == "FAILURE" else None)
    assert [outcome.dying.total_seconds() for _, _, outcome in bench.store.ended] == ended
    assert {(run, token, outcome.state) for run, token, outcome in bench.store.ended} <= {("run-1", 7, State.FAILED)}
    assert len(bench.store.renewed) == kept


def test_a_revoked_step_ends_its_run(bench: Bench) -> None:
    request = Context({"id": "step-1", PART: PART_OF_IT})
    bench.recorder.on_revoked(bench.task, request, terminated=False, expired=False)
    [(run, token, outcome)] = bench.store.ended
    assert (run, token, outcome.state, outcome.reason) == ("run-1", 7, State.INTERRUPTED, "revoked")


@pytest.mark.parametrize(
    "raw",
    [
        None,
        7,
        {},
        {**PART_OF_IT, "run": 1},
        {**PART_OF_IT, "token": True},
        {**PART_OF_IT, "token": 0},
        {**PART_OF_IT, "ttl": -1},
        {**PART_OF_IT, "ttl": 1e3},
        {**PART_OF_IT, "ttl": 10**30},
    ],
)
def test_a_forged_part_is_none(raw: Any) -> None:
    assert read_part({PART: raw}) is None
    assert read_part({"headers": {PART: raw}}) is None


def test_a_step_says_for_which_run_it_works() -> None:
    part = read_part({"headers": {PART: PART_OF_IT}})
    assert part is not None
    assert (part.run_id, part.token, part.lock_ttl) == ("run-1", 7, timedelta(hours=1))


@pytest.mark.parametrize("prefix", [None, "legion:clock", "shop:{legion}"])
def test_a_part_says_under_which_prefix_its_run_is_known(prefix: str | None) -> None:
    part = Part("run-1", 7, timedelta(hours=1), prefix)
    assert read_part({PART: part.dump()}) == part


@pytest.mark.parametrize("prefix", ["", "a*", "{a}{b}", 7])
def test_a_part_of_a_prefix_that_none_can_have_is_none(prefix: object) -> None:
    assert read_part({PART: {**PART_OF_IT, "prefix": prefix}}) is None


@pytest.mark.parametrize(("here", "served"), [(False, "legion:clock"), (True, "bench")])
def test_a_step_is_served_under_its_runs_prefix_and_moves_no_worker(bench: Bench, here: bool, served: str) -> None:
    bench.recorder.backlog = SimpleNamespace(here=here)
    request = SimpleNamespace(**{PART: {**PART_OF_IT, "prefix": "legion:clock"}})
    bench.recorder.succession.on_prerun(SimpleNamespace(app=bench.app, request=request))
    assert bench.context.config.key_prefix == served
