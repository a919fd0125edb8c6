"""Runs that are asked for by hand, beside whoever leads."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from celery_legion.engine import Engine
from celery_legion.errors import BrokerUnavailableError, StoreUnavailableError
from celery_legion.run import Kind, State
from celery_legion.stores.base import Granted, Pause, Request
from celery_legion.stores.memory import MemoryStore
from tests.unit.engine.bench import MINUTE, START, Broker, FakeClock, history
from tests.unit.engine.shots import a_task, job, record, schedule, shot

MINUTE_BEGAN = START.replace(second=0)


class TestRunNow:
    """Runs by hand."""

    def test_it_is_sent_now_whatever_the_clock_says_and_no_mark_moves(
        self, idle: Engine, clock: FakeClock, broker: Broker, store: MemoryStore
    ) -> None:
        shot(idle).run_due()
        before = store.states(["j"])["j"]
        clock.advance(timedelta(microseconds=987_654))
        [ordered] = shot(idle).run_now([job(idle)], Kind.MANUAL)

        assert (ordered.job.name, ordered.verdict.granted) == ("j", Granted.RUN)
        [sent] = broker.sent
        assert sent.run_id == ordered.run_id
        found = record(store, ordered.run_id)
        assert (found.kind, found.state, found.scheduler is None) == (Kind.MANUAL, State.SENT, False)
        assert found.fire_time == START + timedelta(milliseconds=987)
        assert sent.header is not None and sent.header.kind is Kind.MANUAL
        after = store.states(["j"])["j"]
        assert (after.mark, after.anchor) == (before.mark, before.anchor)

    def test_a_job_that_was_never_seen_stays_so(self, idle: Engine, broker: Broker, store: MemoryStore) -> None:
        shot(idle).run_now([job(idle)], Kind.MANUAL)
        assert store.states(["j"])["j"].mark is None

        # And its first fire still counts as such.
        schedule(idle, a_task().every_minute().name("a"))
        shot(idle).run_now([job(idle, "a")], Kind.MANUAL, unlocked=True)
        assert shot(idle).run_due() == 1
        assert broker.sent[-1].fire_time == MINUTE_BEGAN

    def test_each_order_is_a_run_of_its_own(self, idle: Engine, store: MemoryStore) -> None:
        orders = [shot(idle).run_now([job(idle)], Kind.MANUAL)[0] for _ in range(2)]
        assert orders[0].run_id != orders[1].run_id

    def test_the_lock_is_respected_and_the_skip_is_recorded(
        self, idle: Engine, broker: Broker, store: MemoryStore
    ) -> None:
        [first] = shot(idle).run_now([job(idle)], Kind.MANUAL)
        [second] = shot(idle).run_now([job(idle)], Kind.MANUAL)

        assert second.verdict.granted in (Granted.OVERLAP, Granted.NO_WORKER)
        assert second.verdict.holder == first.run_id
        assert broker.ids == [first.run_id]
        assert store.get(second.run_id) is None
        [skip, _] = store.runs("j", 10)
        assert (skip.id, skip.state, skip.kind, skip.count) == (None, State.SKIPPED, Kind.MANUAL, 1)
        assert skip.reason == second.verdict.granted.value

    def test_jobs_that_share_a_lock_are_not_run_together(self, idle: Engine, broker: Broker) -> None:
        made = schedule(
            idle,
            a_task().hourly().name("a").lock_name("shared"),
            a_task().hourly().name("b").lock_name("shared"),
        )
        one, two = made.run_now([job(idle, "a"), job(idle, "b")], Kind.MANUAL)
        assert (one.verdict.granted, two.verdict.granted) == (Granted.RUN, Granted.OVERLAP)
        assert two.verdict.holder == one.run_id

    def test_unlocked_it_runs_beside_the_holder_and_takes_no_lock(
        self, idle: Engine, broker: Broker, store: MemoryStore
    ) -> None:
        [first] = shot(idle).run_now([job(idle)], Kind.MANUAL)
        [second] = shot(idle).run_now([job(idle)], Kind.MANUAL, unlocked=True)

        assert second.verdict.granted is Granted.RUN
        assert broker.ids == [first.run_id, second.run_id]
        assert broker.sent[1].header is not None and broker.sent[1].header.limit == 0
        [lock] = store.locks()
        assert [holder.run_id for holder in lock.holders] == [first.run_id]
        # The job itself is as it was.
        assert job(idle).policy.limit == 1

    def test_an_unlocked_run_is_in_the_way_of_none(self, idle: Engine, broker: Broker, store: MemoryStore) -> None:
        shot(idle).run_now([job(idle)], Kind.MANUAL, unlocked=True)
        assert store.locks() == []
        [second] = shot(idle).run_now([job(idle)], Kind.MANUAL)
        assert second.verdict.granted is Granted.RUN

    def test_more_than_one_claim_takes_are_run_in_order(self, make: Callable[..., Engine], broker: Broker) -> None:
        engine = make(**{f"j{n}": {"task": "t", "schedule": 3600} for n in range(450)})
        ordered = shot(engine).run_now(engine.context.registry.jobs.values(), Kind.MANUAL)
        assert [one.job.name for one in ordered] == [sent.job for sent in broker.sent] == [f"j{n}" for n in range(450)]
        assert [one.run_id for one in ordered] == broker.ids
        assert shot(engine).run_now([], Kind.MANUAL) == []

    def test_it_takes_nothing_out_of_the_inbox_and_claims_nothing_due(
        self, idle: Engine, broker: Broker, store: MemoryStore
    ) -> None:
        made = schedule(idle, a_task().every_minute().name("a"))
        store.push(Request(id="p-1", body='{"job": "j"}'))
        made.run_now([job(idle)], Kind.MANUAL)
        assert [sent.job for sent in broker.sent] == ["j"]
        assert len(store.requests(10)) == 1
        assert history(store, "a") == []

    def test_a_pause_does_not_hold_it_up(self, idle: Engine, broker: Broker, store: MemoryStore) -> None:
        store.pause(Pause(name="*", since=START))
        [ordered] = shot(idle).run_now([job(idle)], Kind.MANUAL)
        assert ordered.verdict.granted is Granted.RUN

    def test_what_the_broker_did_not_take_waits_and_is_said(
        self, idle: Engine, make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
    ) -> None:
        broker.down = True
        with pytest.raises(BrokerUnavailableError, match="what was claimed waits"):
            shot(idle).run_now([job(idle)], Kind.MANUAL)
        assert history(store) == [("claimed", None, 1)]

        broker.down = False
        clock.advance(timedelta(seconds=10))
        assert shot(idle).run_due() == 0
        assert [sent.header.kind for sent in broker.sent if sent.header] == [Kind.MANUAL]

    def test_what_cannot_be_sent_has_failed(self, idle: Engine, broker: Broker, store: MemoryStore) -> None:
        broker.errors = {"j": TypeError("no JSON")}
        [ordered] = shot(idle).run_now([job(idle)], Kind.MANUAL)
        assert (record(store, ordered.run_id).state, record(store, ordered.run_id).reason) == (
            State.FAILED,
            "unsendable",
        )
        assert store.locks() == []

    def test_a_silent_store_is_said(self, idle: Engine, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
        def silent(*args: Any) -> Any:
            raise StoreUnavailableError("redis://x", "timed out")

        monkeypatch.setattr(store, "claim", silent)
        with pytest.raises(StoreUnavailableError):
            shot(idle).run_now([job(idle)], Kind.MANUAL)


class TestRefusals:
    """What a person is told instead of a run."""

    def test_nothing_is_in_the_way_of_a_plain_job(self, idle: Engine) -> None:
        assert shot(idle).refusals([job(idle)]) == {}
        assert shot(idle).refusals([]) == {}

    @pytest.mark.parametrize("name", ["j", "*"])
    def test_a_paused_job_is_refused_until_its_pause_is_over(
        self, idle: Engine, clock: FakeClock, store: MemoryStore, name: str
    ) -> None:
        store.pause(Pause(name=name, since=START, until=START + MINUTE))
        made = shot(idle)
        assert made.refusals([job(idle)]) == {"j": "paused"}
        clock.advance(MINUTE)
        assert made.refusals([job(idle)]) == {}

    def test_the_pause_of_another_job_is_none(self, idle: Engine, store: MemoryStore) -> None:
        store.pause(Pause(name="other", since=START))
        assert shot(idle).refusals([job(idle)]) == {}

    def test_a_condition_that_says_no_refuses_with_its_reason(self, idle: Engine) -> None:
        made = schedule(
            idle,
            a_task().hourly().name("no").when(lambda: False),
            a_task().hourly().name("yes").when(lambda: True),
            a_task().hourly().name("why").skip(lambda: "stocktaking"),
        )
        jobs = [job(idle, name) for name in ("no", "yes", "why")]
        found = made.refusals(jobs)
        assert list(found) == ["no", "why"]
        assert found["no"].startswith("condition")
        assert "stocktaking" in found["why"]

    def test_a_condition_that_fails_refuses_and_is_logged(self, idle: Engine, caplog: pytest.LogCaptureFixture) -> None:
        def broken() -> bool:
            raise ZeroDivisionError

        made = schedule(idle, a_task().hourly().name("broken").when(broken))
        with caplog.at_level(logging.ERROR):
            assert made.refusals([job(idle, "broken"), job(idle)]) == {"broken": "condition"}
        assert "a condition of job broken failed" in caplog.text

    def test_a_window_is_judged_by_the_clock_now(self, idle: Engine, clock: FakeClock) -> None:
        made = schedule(idle, a_task().hourly().name("office").between("08:00", "17:00").timezone("UTC"))
        assert made.refusals([job(idle, "office")]) == {}
        clock.moment = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
        assert list(made.refusals([job(idle, "office")])) == ["office"]

    def test_asking_writes_nothing(self, idle: Engine, store: MemoryStore) -> None:
        store.pause(Pause(name="j", since=START))
        shot(idle).refusals([job(idle)])
        assert (store.runs(None, 10), store.states(["j"])["j"].mark) == ([], None)
