"""Interruptions: which runs a target means, and what came of asking for their end."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from celery_legion import Legion
from celery_legion import interruption as module
from celery_legion.duration import DurationError
from celery_legion.errors import StoreUnavailableError, UnknownRunError
from celery_legion.interruption import SignalError, Verdict, interrupt, parse_signal
from celery_legion.run import Record, State
from celery_legion.stores.base import Interruption, Outcome, Renewal
from celery_legion.stores.memory import MemoryStore
from celery_legion.testing.conformance_case import KEEP, LONG, SUCCESS, complete, dispatch, fire, know, run

GRACE = timedelta(seconds=5)


class NoControl:
    """The remote control of a broker that has none."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked for, which not every broker has")


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore(now=lambda: datetime(2030, 1, 1, tzinfo=UTC))
    know(made, "job", "other")
    return made


@pytest.fixture
def legion(store: MemoryStore) -> Legion:
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.legion_store_url = "memory://interruption"
    made = Legion(app)
    app.control = NoControl()
    made.context.use_store(store)
    return made


def overlapping(number: int, job: str = "job") -> Any:
    return replace(fire(number, job), limit=0)


def verdicts(legion: Legion, target: str, **options: Any) -> list[tuple[Verdict, str | None]]:
    return [(one.verdict, one.record.id) for one in legion.interrupt(target, **{"wait": 0, **options})]


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ("TERM", signal.SIGTERM),
        ("SIGTERM", signal.SIGTERM),
        ("sigterm", signal.SIGTERM),
        ("int", signal.SIGINT),
        ("KILL", signal.SIGKILL),
        (9, signal.SIGKILL),
        ("9", signal.SIGKILL),
        ("15", signal.SIGTERM),
        (signal.SIGUSR1, signal.SIGUSR1),
    ],
)
def test_a_signal_is_named_or_numbered(given: int | str, number: int) -> None:
    found = parse_signal(given)

    assert found == number
    assert type(found) is int


@pytest.mark.parametrize(
    "given",
    ["", "NO", "SIGNO", "0", 0, -15, "-15", 5000, "²", "15.0", True, "SIG_IGN", pytest.param("9" * 5000, id="long")],
)
def test_what_is_no_signal_is_refused_in_one_line(given: Any) -> None:
    with pytest.raises(SignalError) as caught:
        parse_signal(given)

    assert "is no signal" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_that_waits_in_its_queue_ends_at_once(legion: Legion, store: MemoryStore) -> None:
    dispatch(store, fire(1))

    [result] = legion.interrupt("job-1")
    assert result.verdict is Verdict.ENDED
    assert (result.record.state, result.record.reason) == (State.INTERRUPTED, "revoked")
    assert store.get("job-1") == result.record
    assert store.locks() == []
    assert store.hurries == {}


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.INTERRUPTED])
def test_a_run_that_has_ended_is_not_running(legion: Legion, store: MemoryStore, state: State) -> None:
    complete(store, fire(1), Outcome(state=state))
    before = store.get("job-1")

    [result] = legion.interrupt("job-1")
    assert (result.verdict, result.record) == (Verdict.NOT_RUNNING, before)
    assert store.get("job-1") == before


def test_a_run_that_no_worker_reports_on_cannot_be_ended(legion: Legion, store: MemoryStore) -> None:
    dispatch(store, replace(fire(1), watched=False))

    assert verdicts(legion, "job-1") == [(Verdict.REFUSED, "job-1")]


def test_a_run_that_is_executed_is_asked_for_and_its_worker_hurried(legion: Legion, store: MemoryStore) -> None:
    run(store, fire(1))

    assert verdicts(legion, "job-1", signal="INT", grace="30s") == [(Verdict.NOT_YET, "job-1")]
    assert store.interruption("job-1") == Interruption(signal=signal.SIGINT, grace=timedelta(seconds=30))
    assert store.hurries == {"worker-1": 1}


def test_nothing_more_is_said_than_term_and_five_seconds(legion: Legion, store: MemoryStore) -> None:
    run(store, fire(1))
    legion.interrupt("job-1", wait=0)

    assert store.interruption("job-1") == Interruption(signal=signal.SIGTERM, grace=GRACE)


def test_a_run_that_its_worker_ends_has_ended(legion: Legion, store: MemoryStore) -> None:
    token = run(store, fire(1))

    def worker(records: Sequence[Record]) -> None:
        assert [(record.id, record.state) for record in records] == [("job-1", State.RUNNING)]
        store.end("job-1", token, Outcome(state=State.INTERRUPTED, reason="terminated"), KEEP)

    [result] = interrupt(legion.context, "job-1", asked=worker)
    assert result.verdict is Verdict.ENDED
    assert (result.record.state, result.record.reason) == (State.INTERRUPTED, "terminated")


def test_a_run_that_succeeds_all_the_same_has_ended_too(legion: Legion, store: MemoryStore) -> None:
    token = run(store, fire(1))

    [result] = interrupt(legion.context, "job-1", wait=0, asked=lambda _: store.end("job-1", token, SUCCESS, KEEP))
    assert (result.verdict, result.record.state) == (Verdict.ENDED, State.SUCCEEDED)


def test_a_run_that_cannot_be_ended_says_why(legion: Legion, store: MemoryStore) -> None:
    token = run(store, fire(1))

    [result] = interrupt(
        legion.context, "job-1", asked=lambda _: store.refuse("job-1", token, "a thread cannot be ended")
    )
    assert (result.verdict, result.why) == (Verdict.REFUSED, "a thread cannot be ended")
    assert result.record.state is State.RUNNING


def test_an_older_refusal_is_not_the_answer(legion: Legion, store: MemoryStore) -> None:
    token = run(store, fire(1))
    store.interrupt("job-1", 15, GRACE)
    store.refuse("job-1", token, "a thread cannot be ended")

    assert verdicts(legion, "job-1") == [(Verdict.NOT_YET, "job-1")]


def test_it_is_waited_for_as_long_as_the_renewal_and_the_grace_take(
    legion: Legion, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    legion.context.app.conf.legion_run_lease = 60
    clock = FakeTime()
    monkeypatch.setattr(module, "time", clock)
    run(store, fire(1))

    [result] = legion.interrupt("job-1", grace=30)
    assert result.verdict is Verdict.NOT_YET
    assert clock.seconds == pytest.approx(20 + 30 + module.PATIENCE.total_seconds(), abs=1)


def test_it_is_waited_for_as_long_as_was_said(
    legion: Legion, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeTime()
    monkeypatch.setattr(module, "time", clock)
    run(store, fire(1))

    assert verdicts(legion, "job-1", wait="3s") == [(Verdict.NOT_YET, "job-1")]
    assert clock.seconds == pytest.approx(3, abs=0.5)


class FakeTime:
    """Passes when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def test_a_job_means_all_of_its_open_runs(legion: Legion, store: MemoryStore) -> None:
    complete(store, overlapping(1))
    token = run(store, overlapping(2))
    dispatch(store, overlapping(3))
    run(store, fire(1, "other"))

    results = interrupt(
        legion.context,
        "job",
        wait=0,
        asked=lambda _: store.end("job-2", token, Outcome(state=State.INTERRUPTED), KEEP),
    )
    assert {(one.verdict, one.record.id) for one in results} == {(Verdict.ENDED, "job-2"), (Verdict.ENDED, "job-3")}
    assert store.interruption("other-1") is None


def test_each_run_of_a_job_has_a_verdict_of_its_own(legion: Legion, store: MemoryStore) -> None:
    tokens = {number: run(store, overlapping(number)) for number in (1, 2, 3)}
    dispatch(store, overlapping(4))

    def workers(records: Sequence[Record]) -> None:
        store.end("job-1", tokens[1], Outcome(state=State.INTERRUPTED), KEEP)
        store.refuse("job-2", tokens[2], "why")

    found = interrupt(legion.context, "job", wait=0, asked=workers)
    assert {one.record.id: one.verdict for one in found} == {
        "job-1": Verdict.ENDED,
        "job-2": Verdict.REFUSED,
        "job-3": Verdict.NOT_YET,
        "job-4": Verdict.ENDED,
    }


def test_a_job_without_an_open_run_means_its_last(legion: Legion, store: MemoryStore) -> None:
    complete(store, fire(1))
    complete(store, fire(2))

    assert verdicts(legion, "job") == [(Verdict.NOT_RUNNING, "job-2")]


def test_a_process_means_the_run_that_it_executes(legion: Legion, store: MemoryStore) -> None:
    token = run(store, fire(1))
    run(store, fire(1, "other"))
    store.renew("worker-1", [Renewal(id="job-1", token=token, accepted=True, pid=4321)], LONG)

    assert verdicts(legion, "4321") == [(Verdict.NOT_YET, "job-1")]


def test_a_process_that_the_store_does_not_know_yet_is_asked_of_the_workers(
    legion: Legion, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = run(store, fire(1))

    def renew(worker: str | None = None) -> None:
        if worker is None:
            store.renew("worker-1", [Renewal(id="job-1", token=token, accepted=True, pid=4321)], LONG)

    monkeypatch.setattr(store, "hurry", renew)
    monkeypatch.setattr(module, "time", FakeTime())
    assert verdicts(legion, "4321") == [(Verdict.NOT_YET, "job-1")]


@pytest.mark.parametrize("runs", [False, True])
def test_a_process_of_which_nobody_knows_is_unknown(
    legion: Legion, store: MemoryStore, monkeypatch: pytest.MonkeyPatch, runs: bool
) -> None:
    clock = FakeTime()
    monkeypatch.setattr(module, "time", clock)
    if runs:
        run(store, fire(1))

    with pytest.raises(UnknownRunError, match="'4321'"):
        legion.interrupt("4321")
    assert clock.seconds == pytest.approx(1 if runs else 0, abs=0.2)


def test_a_target_that_is_nothing_is_told_with_what_may_be_meant(legion: Legion) -> None:
    legion.task("t").hourly().name("nightly-backup")

    with pytest.raises(UnknownRunError) as caught:
        legion.interrupt("nightly-bakup")
    assert "did you mean 'nightly-backup'?" in str(caught.value)
    assert caught.value.exit_code == 4


def test_a_job_that_has_not_run_says_so(legion: Legion) -> None:
    legion.task("t").hourly().name("nightly-backup")

    with pytest.raises(UnknownRunError, match="'nightly-backup' has not run yet"):
        legion.interrupt("nightly-backup")


@pytest.mark.parametrize("target", ["", "²", pytest.param("9" * 5000, id="long"), "-5"])
def test_a_target_that_only_looks_like_a_process_is_unknown(legion: Legion, target: str) -> None:
    with pytest.raises(UnknownRunError):
        legion.interrupt(target)


@pytest.mark.parametrize(("option", "error"), [("signal", SignalError), ("grace", DurationError)])
def test_what_makes_no_sense_asks_for_nothing(
    legion: Legion, store: MemoryStore, option: str, error: type[Exception]
) -> None:
    dispatch(store, fire(1))

    with pytest.raises(error):
        legion.interrupt("job-1", **{option: "soon"})
    record = store.get("job-1")
    assert record is not None
    assert record.state is State.SENT


def test_a_wait_that_makes_no_sense_asks_for_nothing(legion: Legion, store: MemoryStore) -> None:
    run(store, fire(1))

    with pytest.raises(DurationError):
        legion.interrupt("job-1", wait="soon")
    assert store.interruption("job-1") is None


def test_a_store_that_is_silent_meanwhile_is_waited_for(
    legion: Legion, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = run(store, fire(1))
    clock = FakeTime()
    monkeypatch.setattr(module, "time", clock)
    get = store.get
    silent = 3

    def now_and_then(run_id: str) -> Record | None:
        nonlocal silent
        if silent:
            silent -= 1
            raise StoreUnavailableError("memory://", "timed out")
        return get(run_id)

    def worker(records: Sequence[Record]) -> None:
        store.end("job-1", token, Outcome(state=State.INTERRUPTED), KEEP)
        monkeypatch.setattr(store, "get", now_and_then)

    [result] = interrupt(legion.context, "job-1", asked=worker)
    assert result.verdict is Verdict.ENDED
    assert silent == 0
