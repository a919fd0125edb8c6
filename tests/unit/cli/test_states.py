"""What the list says of a job: its state, its last run, and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from celery_legion import Legion
from celery_legion.cli.dashboard import notices, summary
from celery_legion.cli.standing import Standing
from celery_legion.run import State
from celery_legion.stores.base import Outcome, Pause
from celery_legion.stores.memory import MemoryStore
from celery_legion.testing.conformance_case import (
    attend,
    complete,
    dispatch,
    fire,
    know,
    lead,
    minute,
    run,
    skip,
    start,
    ticket,
)
from tests.unit.cli.boards import NOW, Clock, add, board_of, dispatched, shown, standing_of, why


class TestStates:
    @pytest.fixture(autouse=True)
    def attended(self, legion: Legion, store: MemoryStore) -> None:
        add(legion, "job")
        know(store, "job")
        lead(store)
        attend(store, "celery")

    def test_a_job_between_two_runs_is_idle(self, legion: Legion, store: MemoryStore) -> None:
        complete(store, fire())
        assert standing_of(legion) == Standing("idle")

    def test_a_run_that_nobody_has_begun_is_queued_for_how_long(
        self, legion: Legion, store: MemoryStore, clock: Clock
    ) -> None:
        dispatch(store, fire())
        clock.moment += timedelta(seconds=40)
        assert standing_of(legion) == Standing("queued", "for 40s")
        assert "the workers are busy" in why(legion)

    def test_a_queue_that_no_worker_consumes_is_named(self, legion: Legion, store: MemoryStore) -> None:
        add(legion, "letters", queue="mail")
        know(store, "letters")
        dispatch(store, fire(job="letters"))
        found = standing_of(legion, "letters")
        assert found.stuck
        assert "no worker for mail" in found.detail
        assert "no worker with Legion(app) consumes queue 'mail'; start one with -Q mail" in why(legion, "letters")

    def test_a_claim_that_is_not_sent_is_unsent_and_asks_for_the_broker(
        self, legion: Legion, store: MemoryStore, clock: Clock
    ) -> None:
        store.claim([fire()], "beat-1", None, timedelta(hours=1))
        clock.moment += timedelta(seconds=9)
        assert standing_of(legion) == Standing("unsent", "for 9s")
        assert "is the broker away?" in why(legion)

    def test_a_run_that_waits_says_when_its_job_last_succeeded(
        self, legion: Legion, store: MemoryStore, clock: Clock
    ) -> None:
        store.claim([fire()], "beat-1", None, timedelta(hours=1))
        assert "no success yet" in shown(legion)
        start(store, ticket(fire()))
        store.end("job-1", store.runs("job", 1)[0].token, Outcome(state=State.SUCCEEDED), store.retention)
        clock.moment += timedelta(minutes=2)
        dispatch(store, fire(2))
        assert "last success 2m ago" in shown(legion)

    def test_a_job_whose_runs_have_all_failed_had_no_success_yet(self, legion: Legion, store: MemoryStore) -> None:
        complete(store, fire(), Outcome(state=State.FAILED))
        dispatch(store, fire(2))
        assert "no success yet" in shown(legion)
        assert "first run" not in shown(legion)

    def test_a_run_that_works_says_where_and_for_how_long(
        self, legion: Legion, store: MemoryStore, clock: Clock
    ) -> None:
        run(store, fire())
        clock.moment += timedelta(seconds=90)
        assert standing_of(legion).word == "running"
        assert standing_of(legion).detail == "for 1m 30s on worker-1"
        assert "interrupt job-1" in why(legion)

    def test_a_skip_beside_the_run_says_which_run_holds_the_lock(self, legion: Legion, store: MemoryStore) -> None:
        run(store, fire())
        for number in (2, 3):
            store.claim([fire(number)], "beat-1", None, timedelta(hours=1))
        assert "skipped overlap ×2" in shown(legion)
        assert "an earlier run was not over (overlap); run job-1 holds the lock on worker-1" in why(legion)

    def test_several_runs_at_once_are_counted(self, legion: Legion, store: MemoryStore) -> None:
        for number in (1, 2):
            run(store, replace(fire(number), limit=0))
        complete(store, replace(fire(3), limit=0))
        assert standing_of(legion).word == "running"
        assert "×2" in standing_of(legion).detail

    def test_a_run_that_waits_for_its_retry_says_when_that_is_due(
        self, legion: Legion, store: MemoryStore, clock: Clock
    ) -> None:
        token = run(store, fire())
        assert store.park("job-1", token, NOW + timedelta(minutes=5), 1)
        assert standing_of(legion) == Standing("retrying", "in 5m on worker-1")
        assert "waits for its retry at 00:06:30 (in 5m)" in why(legion)
        clock.moment += timedelta(minutes=5, seconds=4)
        assert standing_of(legion) == Standing("retrying", "due 4s ago on worker-1")
        assert "(due 4s ago)" in why(legion)

    def test_a_later_attempt_does_not_say_that_it_began_with_the_run(
        self, legion: Legion, store: MemoryStore, clock: Clock
    ) -> None:
        asked = ticket(dispatched(store, fire()))
        assert store.park("job-1", start(store, asked), NOW + timedelta(minutes=5), 1)
        clock.moment += timedelta(minutes=5)
        start(store, replace(asked, retries=1, asker="delivery-2"))
        assert "began 5m ago, is at its attempt 2 on worker-1;" in why(legion)

    def test_a_run_of_a_worker_that_is_gone_says_so(self, legion: Legion, store: MemoryStore, clock: Clock) -> None:
        add(legion, "other")
        know(store, "other")
        token = run(store, fire())
        start(store, replace(ticket(dispatched(store, fire(job="other"))), worker="worker-2"))
        assert store.park("job-1", token, NOW + timedelta(minutes=5), 1)
        attend(store, "celery", lease=timedelta(0))
        assert standing_of(legion) == Standing("retrying", "in 5m, worker-1 is gone")
        assert "that worker is there no more, another worker may still get its message" in why(legion)
        assert standing_of(legion, "other") == Standing("running", "for 0s, worker-2 is gone")
        assert "that worker is there no more, its lease will run out" in why(legion, "other")

    def test_a_paused_job_says_until_when_and_why(self, legion: Legion, store: MemoryStore) -> None:
        complete(store, fire())
        store.pause(Pause(name="job", since=NOW, until=NOW + timedelta(hours=2), note="the bank\x1b is closed"))
        assert standing_of(legion) == Standing("paused", "until 02:01:30, “the bank\\x1b is closed”")
        [row] = board_of(legion).rows
        assert row.expected == minute(122)

    def test_what_is_paused_for_good_has_no_next_run_and_a_run_goes_on(
        self, legion: Legion, store: MemoryStore
    ) -> None:
        run(store, fire())
        store.pause(Pause(name="*", since=NOW))
        [row] = board_of(legion).rows
        assert row.expected is None
        assert standing_of(legion).detail.endswith("; paused")
        assert "everything is paused" in shown(legion)

    def test_a_job_that_is_switched_off_is_disabled(self, legion: Legion, monkeypatch: pytest.MonkeyPatch) -> None:
        jobs = {"job": replace(legion.context.registry.get("job"), enabled=False)}
        monkeypatch.setattr(type(legion.context.registry), "jobs", property(lambda _: jobs))
        assert standing_of(legion) == Standing("disabled")

    def test_a_fire_that_nobody_took_up_makes_a_job_late(
        self, legion: Legion, store: MemoryStore, clock: Clock
    ) -> None:
        complete(store, fire())
        clock.moment = minute(2) + timedelta(seconds=59)
        assert standing_of(legion).word == "idle"
        assert "due 59s ago" in shown(legion)
        clock.moment = minute(3) + timedelta(seconds=5)
        assert standing_of(legion) == Standing("late", "by 1m 5s")
        assert "its fire of 00:02 is not accounted for yet" in why(legion)

    def test_a_job_that_no_scheduler_has_seen_is_unseen(self, legion: Legion) -> None:
        add(legion, "new")
        assert standing_of(legion, "new") == Standing("unseen")

    @pytest.mark.parametrize("state", [State.FAILED, State.SUCCEEDED])
    def test_the_last_run_says_how_it_ended_when_and_how_long_it_took(
        self, legion: Legion, store: MemoryStore, clock: Clock, state: State
    ) -> None:
        token = run(store, fire())
        outcome = Outcome(state=state, started_at=NOW, ended_at=NOW + timedelta(seconds=1.2), error="E: no")
        store.end("job-1", token, outcome, store.retention)
        clock.moment += timedelta(seconds=181)
        assert f"{state.value} 2m ago, 1.2s" in shown(legion)

    def test_a_skip_after_the_last_run_is_shown_with_it(self, legion: Legion, store: MemoryStore) -> None:
        complete(store, fire())
        lapse = replace(fire(2), run_id=None, lapses=(skip(2, "condition"),))
        store.claim([lapse], "beat-1", None, timedelta(hours=1))
        assert "succeeded 0s ago" in shown(legion)
        assert "; skipped condition" in shown(legion)

    def test_one_line_says_who_leads_and_who_works(self, legion: Legion) -> None:
        board = board_of(legion)
        assert summary(board).plain == "1 job · leader alpha:101 · 1 worker"
        assert notices(board) == []
