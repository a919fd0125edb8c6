"""The one-shot: what is due, once, beside whoever leads; and runs by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from celery.schedules import crontab

from celery_legion.builder import Builder
from celery_legion.engine import Engine
from celery_legion.engine.one_shot import STUCK_AFTER
from celery_legion.errors import BrokerUnavailableError, ForeignLeaderError
from celery_legion.run import Kind, State
from celery_legion.stores.base import Granted, Outcome, Pause, Request
from celery_legion.stores.memory import MemoryStore
from celery_legion.target import Target
from tests.unit.engine.bench import MINUTE, START, Broker, FakeClock, history
from tests.unit.engine.shots import a_task, job, record, schedule, shot

MINUTE_BEGAN = START.replace(second=0)


class TestRunDue:
    """What one pass claims and sends."""

    @pytest.mark.parametrize(
        ("second", "microsecond"), [(0, 0), (0, 1), (30, 0), (59, 999_999)], ids=["start", "after", "middle", "end"]
    )
    def test_a_job_seen_for_the_first_time_runs_for_the_start_of_the_current_minute(
        self, make: Callable[..., Engine], clock: FakeClock, broker: Broker, second: int, microsecond: int
    ) -> None:
        clock.moment = START.replace(second=second, microsecond=microsecond)
        engine = make(j={"task": "t", "schedule": crontab()})
        assert shot(engine).run_due() == 1
        assert [sent.fire_time for sent in broker.sent] == [MINUTE_BEGAN]
        assert shot(engine).run_due() == 0

    def test_a_fire_of_the_minute_before_is_none_of_its(self, make: Callable[..., Engine], broker: Broker) -> None:
        assert START.minute == 0
        assert shot(make(j={"task": "t", "schedule": crontab(minute="59")})).run_due() == 0
        assert broker.sent == []

    def test_an_interval_seen_for_the_first_time_is_counted_from_there(
        self, make: Callable[..., Engine], clock: FakeClock, broker: Broker
    ) -> None:
        engine = make(j={"task": "t", "schedule": 300})
        assert shot(engine).run_due() == 0
        clock.moment = MINUTE_BEGAN + timedelta(minutes=5)
        assert shot(engine).run_due() == 1
        assert len(broker.sent) == 1

    def test_what_fell_due_since_the_last_time_is_caught_up_and_accounted_for(
        self, make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
    ) -> None:
        engine = make(j={"task": "t", "schedule": crontab()})
        shot(engine).run_due()
        assert store.end(broker.ids[0], 0, Outcome(state=State.SUCCEEDED), store.retention)
        clock.advance(5 * MINUTE)
        assert shot(engine).run_due() == 1

        assert broker.sent[-1].fire_time == MINUTE_BEGAN + 5 * MINUTE
        assert history(store) == [("sent", None, 1), ("missed", "catch_up", 4), ("succeeded", None, 1)]

    def test_many_that_run_at_once_send_each_fire_once(self, make: Callable[..., Engine], broker: Broker) -> None:
        engines = [make(**{f"j{n}": {"task": "t", "schedule": crontab()} for n in range(250)}) for _ in range(3)]
        assert [shot(engine).run_due() for engine in engines] == [250, 0, 0]
        assert len(broker.ids) == len(set(broker.ids)) == 250

    def test_a_job_that_is_kept_off_the_schedule_is_left_out(self, idle: Engine, broker: Broker) -> None:
        assert schedule(idle, a_task().every_minute().name("off").enabled(False)).run_due() == 0
        assert broker.sent == []

    def test_a_paused_job_is_skipped_and_in_nobodys_way(
        self, make: Callable[..., Engine], broker: Broker, store: MemoryStore
    ) -> None:
        store.pause(Pause(name="paused", since=START))
        engine = make(**{name: {"task": "t", "schedule": crontab()} for name in ("paused", "j")})
        assert shot(engine).run_due() == 1
        assert [sent.job for sent in broker.sent] == ["j"]
        assert history(store, "paused") == [("skipped", "paused", 1)]

    def test_a_broker_that_is_away_is_said_after_everything_is_claimed(
        self, make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
    ) -> None:
        engine = make(j={"task": "t", "schedule": crontab()}, k={"task": "t", "schedule": crontab()})
        broker.down = True
        with pytest.raises(BrokerUnavailableError, match="what was claimed waits and is sent by the next scheduler"):
            shot(engine).run_due()
        assert history(store, "j") == history(store, "k") == [("claimed", None, 1)]

        broker.down = False
        clock.advance(STUCK_AFTER - timedelta(seconds=1))
        assert shot(engine).run_due() == 0
        assert broker.sent == []
        clock.advance(timedelta(seconds=2))
        assert shot(engine).run_due() == 0
        assert sorted(sent.job for sent in broker.sent) == ["j", "k"]


class TestTags:
    """Only some of the jobs."""

    def test_only_jobs_with_one_of_the_tags_are_sent(self, idle: Engine, broker: Broker, store: MemoryStore) -> None:
        made = schedule(
            idle,
            a_task().every_minute().name("a").tags("cache"),
            a_task().every_minute().name("b").tags("mail", "cache"),
            a_task().every_minute().name("c").tags("mail"),
            a_task().every_minute().name("d"),
        )
        assert made.run_due({"cache"}) == 2
        assert [sent.job for sent in broker.sent] == ["a", "b"]
        assert history(store, "c") == history(store, "d") == []

        assert shot(idle).run_due(["mail", "nothing"]) == 1
        assert shot(idle).run_due() == 1
        assert [sent.job for sent in broker.sent] == ["a", "b", "c", "d"]

    def test_the_marks_of_the_others_stay_where_they_are(
        self, idle: Engine, clock: FakeClock, store: MemoryStore
    ) -> None:
        made = schedule(idle, a_task().every_minute().name("a").tags("x"), a_task().every_minute().name("b").tags("y"))
        made.run_due()
        before = store.states(["b"])["b"].mark
        clock.advance(10 * MINUTE)
        shot(idle).run_due({"x"})
        assert store.states(["b"])["b"].mark == before

    def test_pushes_stay_in_the_inbox(self, idle: Engine, broker: Broker, store: MemoryStore) -> None:
        store.push(Request(id="p-1", body='{"job": "j"}'))
        store.push(Request(id="b-1", body="{"))
        assert shot(idle).run_due({"x"}) == 0
        assert len(store.requests(10)) == 2
        assert (broker.sent, store.asides(10)) == ([], [])

    def test_hooks_of_other_jobs_go_to_their_own_queues(self, idle: Engine, broker: Broker, store: MemoryStore) -> None:
        hooked = a_task().every_minute().name("hooked").queue("slow").on_failure(lambda run: None)
        schedule(idle, hooked, a_task().daily_at("03:00").name("tagged").tags("x")).run_due()
        [sent] = [sent for sent in broker.sent if sent.job == "hooked"]
        assert store.end(sent.run_id, 0, Outcome(state=State.FAILED), store.retention)
        shot(idle).run_due({"x"})

        [hooks] = [sent for sent in broker.sent if sent.job == "hooks of hooked"]
        assert hooks.options()["queue"] == "slow"

    def test_a_stuck_run_of_another_job_is_sent_again_as_it_was(
        self, idle: Engine, clock: FakeClock, broker: Broker, store: MemoryStore
    ) -> None:
        made = schedule(
            idle,
            a_task().every_minute().name("stuck").allow_overlapping().on_failure(lambda run: None),
            a_task().daily_at("03:00").name("tagged").tags("x"),
        )
        broker.down = True
        with pytest.raises(BrokerUnavailableError):
            made.run_due()
        broker.down = False
        clock.advance(timedelta(seconds=10))
        shot(idle).run_due({"x"})

        [sent] = broker.sent
        assert sent.job == "stuck"
        assert sent.header is not None
        assert (sent.header.limit, State.FAILED in sent.header.owes) == (0, True)

    def test_a_stuck_run_of_another_job_whose_message_could_not_be_kept_is_not_given_up(
        self, idle: Engine, clock: FakeClock, broker: Broker, store: MemoryStore
    ) -> None:
        # What only pickle can send: the message is made anew from the job.
        made = schedule(
            idle,
            Builder(Target("t", "here:1", (object(),))).every_minute().name("stuck"),
            a_task().daily_at("03:00").name("tagged").tags("x"),
        )
        broker.down = True
        with pytest.raises(BrokerUnavailableError):
            made.run_due()
        broker.down = False
        clock.advance(timedelta(seconds=10))
        shot(idle).run_due({"x"})
        shot(idle).run_due()

        assert [sent.job for sent in broker.sent] == ["stuck"]
        assert history(store, "stuck") == [("sent", None, 1)]


class TestInbox:
    """Pushes are a leader's, unless there is none."""

    def test_pushes_are_sent_where_nobody_leads(self, idle: Engine, broker: Broker, store: MemoryStore) -> None:
        store.push(Request(id="p-1", body=json.dumps({"job": "j", "args": [5]})))
        store.push(Request(id="b-1", body="{"))
        assert shot(idle).run_due() == 1

        [sent] = broker.sent
        assert (sent.run_id, sent.message.args) == ("p-1", (5,))
        assert record(store, "p-1").kind is Kind.PUSHED
        assert store.requests(10) == []
        assert [aside.request.id for aside in store.asides(10)] == ["b-1"]

    def test_beside_a_leader_they_are_left_to_it(
        self, idle: Engine, make: Callable[..., Engine], broker: Broker, store: MemoryStore
    ) -> None:
        leader = make(j={"task": "t", "schedule": 3600})
        leader.tick()
        store.push(Request(id="p-1", body='{"job": "j"}'))
        assert shot(idle).run_due() == 0
        assert (broker.sent, len(store.requests(10))) == ([], 1)

    def test_when_the_leaders_lease_is_over_they_are_sent(
        self, idle: Engine, make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
    ) -> None:
        make(j={"task": "t", "schedule": 3600}).tick()
        store.push(Request(id="p-1", body='{"job": "j"}'))
        clock.advance(timedelta(seconds=11))
        assert shot(idle).run_due() == 1
        assert broker.ids == ["p-1"]

    def test_two_that_read_the_same_push_make_one_run_of_it(
        self, idle: Engine, make: Callable[..., Engine], broker: Broker, store: MemoryStore
    ) -> None:
        store.push(Request(id="p-1", body='{"job": "j"}'))
        shot(idle).run_due()
        # It was read before the first one had acknowledged it.
        store.push(Request(id="p-1", body='{"job": "j"}'))
        assert shot(make(j={"task": "t", "schedule": crontab(minute="0", hour="3")})).run_due() == 0
        assert broker.ids == ["p-1"]


class TestForeignLeader:
    """Another app under the same prefix is nobody to claim beside."""

    def test_nothing_is_claimed_by_anyone_but_the_leaders_app(
        self, idle: Engine, make: Callable[..., Engine], clock: FakeClock, broker: Broker, store: MemoryStore
    ) -> None:
        make(main="warehouse").tick()
        store.push(Request(id="p-1", body='{"job": "j"}'))
        idle.context.app.conf.legion_key_prefix = "legion:shop"
        made = schedule(idle, a_task().every_minute().name("a"))
        with pytest.raises(ForeignLeaderError, match="legion_key_prefix"):
            made.run_due()
        with pytest.raises(ForeignLeaderError, match="warehouse"):
            made.run_now([job(idle)], Kind.MANUAL)
        assert (broker.sent, history(store), history(store, "a"), len(store.requests(10))) == ([], [], [], 1)

        clock.advance(timedelta(seconds=11))
        assert made.run_due() == 2

    def test_a_standby_of_another_app_is_no_leader(
        self, idle: Engine, make: Callable[..., Engine], broker: Broker
    ) -> None:
        make(j={"task": "t", "schedule": 3600}).tick()
        make(main="warehouse").tick()
        [ordered] = shot(idle).run_now([job(idle)], Kind.MANUAL)
        assert ordered.verdict.granted is Granted.RUN
