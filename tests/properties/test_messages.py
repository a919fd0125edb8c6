"""Messages of anyone: whatever a header says, it is read, or the task is not executed and the worker lives on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from celery.worker import state
from hypothesis import given
from hypothesis import strategies as st

from celery_legion.errors import StoreError
from celery_legion.header import Header, HeaderError
from celery_legion.run import Kind, State
from celery_legion.stores.base import Answer, Ticket
from celery_legion.stores.memory import MemoryStore
from celery_legion.worker.current import raw_header, read_run, read_token
from tests.properties.effort import PATIENCE, effort
from tests.properties.json_values import VALUES
from tests.worker.doubles import FIRE, GO, HEADER, Bench

pytestmark = PATIENCE

HUGE = st.integers() | st.sampled_from((0, -1, 2**31, 2**53, 2**63, 10**13, 10**15, 10**17, 10**30)) | st.booleans()
NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "v": st.just(1) | VALUES,
        "job": st.sampled_from(("nightly", "", "x\0y", "a" * 1000)) | VALUES,
        "fire": st.just(HEADER.dump()["fire"]) | HUGE | VALUES,
        "kind": st.sampled_from([kind.value for kind in Kind]) | VALUES,
        "lock": st.just("nightly") | VALUES,
        "limit": st.just(1) | HUGE | VALUES,
        "ttl": st.just(3_600_000) | HUGE | VALUES,
        "owes": st.lists(st.sampled_from([*State, "x"]) | VALUES, max_size=3) | VALUES,
        "token": HUGE | VALUES,
        "attempt": HUGE | VALUES,
        "previous": HUGE | VALUES,
    },
)
CHANGED = st.builds(lambda changes: {**HEADER.dump(), **changes}, NEARLY)
HEADERS = CHANGED | NEARLY | VALUES
HEADER_LISTS = st.builds(
    Header,
    job=st.text(),
    fire_time=st.integers(0, 10**12).map(lambda ms: FIRE.fromtimestamp(ms / 1000, FIRE.tzinfo).replace(microsecond=0)),
    kind=st.sampled_from(Kind),
    lock=st.text(),
    limit=st.integers(0, 1000),
    lock_ttl=st.integers(1, 10**9).map(lambda ms: timedelta(milliseconds=ms)),
    owes=st.frozensets(st.sampled_from(State)),
)


@pytest.fixture(autouse=True)
def clean_books() -> Iterator[None]:
    state.reset_state()
    yield
    state.reset_state()


@given(HEADER_LISTS)
@effort(60)
def test_a_header_comes_back_as_it_was(header: Header) -> None:
    assert Header.load(json.loads(json.dumps(header.dump()))) == header


@given(HEADERS)
@effort(200)
def test_any_data_is_a_header_or_refused_with_its_error(data: Any) -> None:
    modules = set(sys.modules)
    try:
        header, said = Header.load(data), None
    except HeaderError as exc:
        header, said = None, str(exc)
    if said is not None:
        assert said.startswith("the message's legion header is not valid: ")
        assert "\n" not in said
    if header is not None:
        assert Header.load(json.loads(json.dumps(header.dump()))) == header
    assert set(sys.modules) == modules


@given(HEADERS, VALUES)
@effort(100)
def test_whoever_reads_a_header_on_the_way_lives(data: Any, retries: Any) -> None:
    class Request:
        id = "run-1"
        legion = data

    raw_header({"legion": data})
    raw_header({"headers": data})
    assert read_token(data) >= 0
    run = read_run(Request())
    assert run is None or run.token > 0


@given(st.just(HEADER.dump()) | HEADERS, VALUES | HUGE)
@effort(100)
def test_the_gate_asks_the_store_or_drops_the_message_with_a_reason(data: Any, retries: Any) -> None:
    bench = Bench(GO)
    request = bench.request(header=data, retries=retries)
    state.task_reserved(request)
    refused = request.revoked()
    if data is None:
        assert (refused, bench.store.tickets) == (False, [])
    elif refused:
        assert request.acknowledged
        assert bench.store.tickets == []
    else:
        [ticket] = bench.store.tickets
        assert ticket.retries >= 0
        assert type(ticket.retries) is int
        assert bench.begun
    state.reset_state()


IDS = st.text(max_size=10) | st.integers() | st.none() | st.booleans() | st.floats()


@given(st.lists(st.tuples(HEADERS, IDS), min_size=1, max_size=6))
@effort(60)
def test_a_good_message_runs_whatever_came_before(bad: list[tuple[Any, Any]]) -> None:
    bench = Bench(GO)
    bench.gate.store = MemoryStore(now=bench.clock.now)
    for header, run_id in bad:
        request = bench.request(run_id, header=header)
        state.task_reserved(request)
        request.revoked()
    assert not bench.gate._silent
    good = bench.request("good", header=replace(HEADER, job="another", lock="another"))
    state.task_reserved(good)
    taken = [
        header for header, _ in bad if isinstance(header, dict) and "another" in (header.get("job"), header.get("lock"))
    ]
    assert good.revoked() is False or taken
    state.reset_state()


def test_a_message_that_the_store_trips_over_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(GO)
    begin = bench.store.begin

    def trip(ticket: Ticket) -> Answer:
        if ticket.id == "bad":
            raise StoreError("ERR value is not an integer or out of range")
        return begin(ticket)

    monkeypatch.setattr(bench.store, "begin", trip)
    bad, good = bench.request("bad"), bench.request("good")
    state.task_reserved(bad)
    state.task_reserved(good)
    assert bad.revoked() is True
    assert not bad.acknowledged, "it waits, since nobody knows whether it may run"
    assert good.revoked() is False
