"""What becomes of due fires: catch-up, pauses, deadlines, conditions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta

import pytest

from celery_legion.job import Action, Between, CatchUp, Job, Policy
from celery_legion.planner import SLICE, Plan, Rules, judge, plan, trigger_print, within
from celery_legion.run import Reason, State
from celery_legion.triggers import Cron, Interval, Trigger

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def every_minute(**policy: object) -> Job:
    return Job(name="j", action=Action("t"), trigger=Cron("* * * * *"), policy=Policy(**policy))  # type: ignore[arg-type]


def decide(
    job: Job,
    first: datetime,
    now: datetime,
    *,
    paused: bool = False,
    judge: Callable[[Job, datetime], str | None] = lambda job, fire: None,
    rules: Rules | None = None,
) -> Plan:
    def next_after(trigger: Trigger, moment: datetime) -> datetime | None:
        return trigger.next_after(moment)

    return plan(job, job.trigger, first, now, rules=rules or Rules(), paused=paused, judge=judge, next_after=next_after)


def test_a_fire_that_is_just_due_runs_and_the_next_follows() -> None:
    made = decide(every_minute(), NOON, NOON + timedelta(seconds=2))

    assert made == Plan(until=NOON, runs=(NOON,), next=NOON + MINUTE)


def test_once_runs_the_latest_and_counts_the_earlier_ones_as_missed() -> None:
    made = decide(every_minute(), NOON, NOON + 5 * MINUTE)

    assert made.runs == (NOON + 5 * MINUTE,)
    assert [(m.state, m.reason, m.first, m.last, m.count) for m in made.missed] == [
        (State.MISSED, Reason.CATCH_UP, NOON, NOON + 4 * MINUTE, 5)
    ]


def test_once_runs_nothing_older_than_the_window() -> None:
    job = Job(name="j", action=Action("t"), trigger=Cron("0 12 * * *"))

    made = decide(job, NOON, NOON + timedelta(hours=23), rules=Rules(window=timedelta(hours=1)))

    assert made.runs == ()
    assert made.missed[0].count == 1
    assert made.until == NOON


def test_skip_runs_only_what_is_hardly_late() -> None:
    job = every_minute(catch_up=CatchUp.SKIP)

    assert decide(job, NOON, NOON + timedelta(seconds=20)).runs == (NOON,)
    hourly = Job(name="j", action=Action("t"), trigger=Cron("0 * * * *"), policy=Policy(catch_up=CatchUp.SKIP))
    assert decide(hourly, NOON, NOON + timedelta(minutes=20)).runs == ()


def test_all_runs_each_within_window_and_limit_and_counts_the_rest() -> None:
    job = every_minute(catch_up=CatchUp.ALL, catch_up_window=timedelta(minutes=10), catch_up_limit=3)

    made = decide(job, NOON, NOON + 20 * MINUTE)

    assert made.runs == tuple(NOON + n * MINUTE for n in (18, 19, 20))
    assert [(m.reason, m.count) for m in made.missed] == [(Reason.CATCH_UP, 10), (Reason.LIMIT, 8)]


@pytest.mark.parametrize("mode", list(CatchUp))
def test_a_month_of_backlog_is_accounted_for_slice_by_slice_and_exactly(mode: CatchUp) -> None:
    job = every_minute(catch_up=mode)
    now = NOON + timedelta(days=30)
    first: datetime | None = NOON
    accounted = ran = slices = 0
    while first is not None and first <= now:
        made = decide(job, first, now)
        accounted += sum(missed.count for missed in made.missed) + len(made.runs)
        ran += len(made.runs)
        first = made.next
        slices += 1

    assert accounted == 30 * 24 * 60 + 1
    assert ran == {CatchUp.SKIP: 1, CatchUp.ONCE: 1, CatchUp.ALL: 100}[mode]
    assert slices == accounted // SLICE + 1


def test_a_paused_job_skips_all_its_fires_as_one_record() -> None:
    made = decide(every_minute(), NOON, NOON + 2 * MINUTE, paused=True)

    assert made.runs == ()
    assert [(m.state, m.reason, m.count) for m in made.missed] == [(State.SKIPPED, Reason.PAUSED, 3)]


def test_a_fire_past_its_send_deadline_is_missed_and_one_at_it_is_not() -> None:
    late = decide(every_minute(send_deadline=timedelta(seconds=19)), NOON, NOON + timedelta(seconds=20))
    made = decide(every_minute(send_deadline=timedelta(seconds=20)), NOON, NOON + timedelta(seconds=20))

    assert not late.runs
    assert late.missed[0].reason == Reason.PAST_DEADLINE
    assert made.runs == (NOON,)


def test_a_fire_past_its_start_deadline_is_missed() -> None:
    made = decide(every_minute(start_deadline=timedelta(seconds=10)), NOON, NOON + timedelta(seconds=20))

    assert made.runs == ()
    assert [(m.state, m.reason) for m in made.missed] == [(State.MISSED, Reason.PAST_DEADLINE)]


def test_the_judge_is_asked_only_for_the_fire_that_would_run() -> None:
    asked = []

    def refuse(job: Job, fire: datetime) -> str:
        asked.append(fire)
        return "holiday"

    made = decide(every_minute(), NOON, NOON + 3 * MINUTE, judge=refuse)

    assert asked == [NOON + 3 * MINUTE]
    assert [(m.state, m.reason, m.count) for m in made.missed] == [
        (State.MISSED, Reason.CATCH_UP, 3),
        (State.SKIPPED, "holiday", 1),
    ]


def is_open() -> bool:
    return False


def test_when_and_skip_give_reasons_and_all_must_agree() -> None:
    assert judge(every_minute(when=(lambda: True, lambda: 1)), NOON) is None
    assert judge(every_minute(when=(lambda: True, is_open)), NOON) == "condition: when is_open"
    assert judge(every_minute(skip=(lambda: None, lambda: "stocktaking")), NOON) == "stocktaking"
    assert judge(every_minute(skip=(lambda: True,)), NOON) == "condition: skip <lambda>"


def test_between_is_judged_at_the_fire_in_its_own_zone_and_may_cross_midnight() -> None:
    night = Between(time(22), time(4), "Europe/Berlin")

    assert within(night, datetime(2026, 1, 5, 21, 30, tzinfo=UTC))
    assert not within(night, datetime(2026, 1, 5, 3, 0, tzinfo=UTC))
    assert not within(Between(time(9), time(17), inside=False), NOON)
    assert judge(every_minute(between=(night,)), NOON) == "condition: between 22:00 and 04:00 Europe/Berlin"


def test_a_trigger_print_changes_with_the_trigger_alone() -> None:
    assert trigger_print(Cron("0 2 * * *")) == trigger_print(Cron("0 2 * * *"))
    assert trigger_print(Cron("0 2 * * *")) != trigger_print(Cron("0 3 * * *"))
    assert trigger_print(Interval(MINUTE)) != trigger_print(Interval(2 * MINUTE))
