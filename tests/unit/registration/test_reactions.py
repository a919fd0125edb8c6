"""Hooks and pings on the schedule: in words and keywords, for one job and for all, and what runs owe for them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery, shared_task

from celery_legion import Legion, scheduled
from celery_legion.context import Context
from celery_legion.engine.claims import Claims
from celery_legion.errors import InvalidJobError
from celery_legion.hook import NAMES, NO_HOOKS, Hooks, call_hook, hook_name
from celery_legion.job import Job
from celery_legion.ping import Ping
from celery_legion.planner import Missed, Plan
from celery_legion.run import State
from celery_legion.stores.base import Request, Unsent
from tests.unit.registration.chores import prune

NOW = datetime(2026, 3, 1, 2, tzinfo=UTC)
CHECK = "https://hc-ping.com/5d2f1c30-0000-4000-8000-000000000001"
OPEN = (State.CLAIMED, State.SENT, State.RUNNING, State.RETRYING)
FAILED = (State.FAILED, State.INTERRUPTED, State.LOST, State.EXPIRED)


def first(run: Any) -> None: ...


def second() -> None: ...


def third(run: Any) -> None: ...


def only(legion: Legion) -> Job:
    [job] = [job for job in legion.jobs.values() if job.source == "code"]
    return job


def refusal(legion: Legion) -> str:
    with pytest.raises(InvalidJobError) as caught:
        legion.jobs
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_word_adds_hooks_in_order(legion: Legion, name: str) -> None:
    builder = legion.call(prune).hourly()
    getattr(builder, name)(third, first)
    getattr(builder, name)(second)

    assert only(legion).policy.hooks == Hooks(**{name: (third, first, second)})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("given", [first, [first], (first, second)], ids=["one", "list", "tuple"])
def test_a_keyword_adds_hooks_in_order(legion: Legion, name: str, given: Any) -> None:
    scheduled.hourly(**{name: given})(shared_task(prune))

    expected = (first, second) if isinstance(given, tuple) else (first,)
    assert only(legion).policy.hooks == Hooks(**{name: expected})


def test_a_command_has_hooks_too(legion: Legion) -> None:
    legion.command("true").hourly().before(first).after(second).timeout(5)

    assert only(legion).policy.hooks == Hooks(before=(first,), after=(second,))


def test_a_job_without_hooks_owes_nothing(legion: Legion) -> None:
    legion.call(prune).hourly()

    assert only(legion).policy.hooks is NO_HOOKS


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("ping_before", "before"),
        ("then_ping", "after"),
        ("ping_on_success", "on_success"),
        ("ping_on_failure", "on_failure"),
    ],
)
def test_a_ping_is_a_hook(app: Celery, word: str, name: str) -> None:
    in_words, in_keywords = Legion(app), Legion(Celery("other", broker="redis://localhost:6379/0"))
    getattr(in_words.call(prune).hourly().name("words"), word)(CHECK)
    scheduled.hourly(**{word: CHECK, "name": "keywords"})(shared_task(prune))

    expected = Hooks(**{name: (Ping(CHECK),)})
    assert in_words.jobs["words"].policy.hooks == expected
    assert in_keywords.jobs["keywords"].policy.hooks == expected


def test_pings_and_hooks_stay_in_the_order_in_which_they_were_said(legion: Legion) -> None:
    legion.call(prune).hourly().after(first).then_ping(CHECK).after(second)

    assert only(legion).policy.hooks.after == (first, Ping(CHECK), second)


@pytest.mark.parametrize(
    ("if_", "pinged"),
    [(True, True), (False, False), (lambda: "yes", True), (lambda: None, False), (0, False)],
)
def test_a_ping_asks_its_condition_each_time(
    legion: Legion, monkeypatch: pytest.MonkeyPatch, if_: Any, pinged: bool
) -> None:
    requested: list[str] = []
    monkeypatch.setattr(Ping, "_request", lambda self, run: requested.append(self.url))
    legion.call(prune).hourly().then_ping(CHECK, if_=if_)

    [ping] = only(legion).policy.hooks.after
    call_hook(ping, None)
    assert requested == ([CHECK] if pinged else [])


def test_a_condition_is_not_asked_before_the_ping(legion: Legion) -> None:
    asked: list[int] = []
    legion.call(prune).hourly().ping_before(CHECK, lambda: asked.append(1))
    legion.jobs

    assert asked == []


@pytest.mark.parametrize(
    ("given", "start", "success", "fail"),
    [
        (CHECK, f"{CHECK}/start", CHECK, f"{CHECK}/fail"),
        (f"{CHECK}/", f"{CHECK}/start", CHECK, f"{CHECK}/fail"),
        (f"{CHECK}?create=1", f"{CHECK}/start?create=1", f"{CHECK}?create=1", f"{CHECK}/fail?create=1"),
        (f"{CHECK}/?create=1", f"{CHECK}/start?create=1", f"{CHECK}?create=1", f"{CHECK}/fail?create=1"),
    ],
)
def test_a_check_hears_of_start_success_and_failure(
    legion: Legion, given: str, start: str, success: str, fail: str
) -> None:
    legion.call(prune).hourly().healthchecks(given)

    assert only(legion).policy.hooks == Hooks(
        before=(Ping(start, report=True),),
        on_success=(Ping(success, report=True),),
        on_failure=(Ping(fail, report=True),),
    )


def test_a_check_is_a_keyword_too(legion: Legion) -> None:
    scheduled.hourly(healthchecks=CHECK, after=second)(shared_task(prune))

    hooks = only(legion).policy.hooks
    assert hooks.on_success == (Ping(CHECK, report=True),)
    assert hooks.after == (second,)


@pytest.mark.parametrize("word", ["ping_before", "then_ping", "ping_on_success", "ping_on_failure", "healthchecks"])
@pytest.mark.parametrize(
    "url", ["", "hc-ping.com/secret", "ftp://host/secret", "http://", "http:///secret", "http://host:port/secret", None]
)
def test_what_is_no_url_is_refused_without_being_shown(legion: Legion, word: str, url: Any) -> None:
    getattr(legion.call(prune).hourly(), word)(url)

    text = refusal(legion)
    assert "http://" in text
    assert "test_reactions.py:" in text
    assert "secret" not in text
    assert "\n" not in text


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_called_is_no_hook(legion: Legion, name: str) -> None:
    getattr(legion.call(prune).hourly(), name)(first, "notify")

    text = refusal(legion)
    assert f"{name} takes callables, not 'notify'" in text
    assert "test_reactions.py:" in text


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_called_is_no_hook_as_a_keyword(legion: Legion, name: str) -> None:
    scheduled.hourly(**{name: [first, None]})(shared_task(prune))

    assert f"{name} takes callables, not None" in refusal(legion)


@pytest.mark.parametrize("name", NAMES)
def test_a_hook_of_the_whole_schedule_is_called_after_a_job_s_own(legion: Legion, name: str) -> None:
    assert getattr(legion, name)(first) is first
    getattr(legion.call(prune).hourly(), name)(second)
    getattr(legion, name)(third)

    job = only(legion)
    assert job.policy.hooks == Hooks(**{name: (second,)})
    assert legion.context.registry.hooks_of(job) == Hooks(**{name: (second, first, third)})
    assert legion.context.registry.hooks_of(None) == Hooks(**{name: (first, third)})


def test_a_hook_of_the_whole_schedule_is_a_decorator(legion: Legion) -> None:
    @legion.after
    def clean() -> str:
        return "cleaned"

    @legion.on_failure
    @shared_task(name="alarm")
    def alarm(run: Any) -> None: ...

    assert clean() == "cleaned"
    assert alarm.name == "alarm"
    hooks = legion.context.registry.hooks_of(None)
    assert hooks.after == (clean,)
    assert [hook_name(hook).rpartition(".")[2] for hook in hooks.on_failure] == ["alarm"]


def test_two_faces_of_one_app_share_its_hooks(app: Celery, legion: Legion) -> None:
    legion.after(first)
    Legion(app).after(third)

    assert Context.of(app).registry.hooks.after == (first, third)


def test_the_hooks_of_one_app_are_not_another_s(legion: Legion) -> None:
    legion.after(first)
    other = Legion(Celery("other", broker="redis://localhost:6379/0"))

    assert other.context.registry.hooks_of(None) == NO_HOOKS


NAMED: dict[str, Any] = {
    "before": ("b",),
    "on_success": ("s1", "s2"),
    "on_failure": ("f",),
    "after": ("a1", "a2"),
    "on_skipped": ("k",),
    "on_missed": ("m",),
}
ALL = Hooks(**NAMED)


@pytest.mark.parametrize("state", list(State))
def test_each_ending_has_its_hooks(state: State) -> None:
    expected: dict[State, tuple[str, ...]] = {
        **dict.fromkeys(OPEN, ()),
        **dict.fromkeys(FAILED, ("f", "a1", "a2")),
        State.SUCCEEDED: ("s1", "s2", "a1", "a2"),
        State.SKIPPED: ("k",),
        State.MISSED: ("m",),
    }

    assert ALL.of(state) == expected[state]


@pytest.mark.parametrize(
    ("name", "states"),
    [
        ("before", ()),
        ("on_success", (State.SUCCEEDED,)),
        ("on_failure", FAILED),
        ("after", (State.SUCCEEDED, *FAILED)),
        ("on_skipped", (State.SKIPPED,)),
        ("on_missed", (State.MISSED,)),
    ],
)
def test_hooks_owe_for_the_endings_that_they_wait_for(name: str, states: tuple[State, ...]) -> None:
    assert Hooks(**{name: (first,)}).owes == frozenset(states)


def test_all_hooks_owe_for_every_ending_and_none_for_none() -> None:
    assert ALL.owes == frozenset(state for state in State if state.terminal)
    assert NO_HOOKS.owes == frozenset()


class TestClaims:
    """What the claims and headers of a job with hooks say."""

    def claims(self, legion: Legion, guarded: bool = True) -> Claims:
        context = legion.context
        return Claims(context.app, context.config, guarded, context.registry.hooks_of)

    def plan(self) -> Plan:
        missed = Missed(state=State.SKIPPED, reason="paused", first=NOW, last=NOW, count=1)
        return Plan(until=NOW.replace(hour=5), runs=(NOW.replace(hour=3), NOW.replace(hour=4)), missed=(missed,))

    def test_every_claim_of_a_plan_owes_and_its_message_says_so(self, legion: Legion) -> None:
        legion.call(prune).hourly().on_failure(first).on_skipped(second)
        owes = frozenset({*FAILED, State.SKIPPED})

        asked = list(self.claims(legion).of_plan(only(legion), NOW, self.plan(), NOW))
        assert [one.claim.owes for one in asked] == [owes, owes, owes]
        dispatches = [one.dispatch for one in asked if one.dispatch is not None]
        assert [dispatch.header and dispatch.header.owes for dispatch in dispatches] == [owes, owes]
        assert dispatches[0].options()["headers"]["legion"]["owes"] == [
            "expired",
            "failed",
            "interrupted",
            "lost",
            "skipped",
        ]

    def test_a_push_owes(self, legion: Legion) -> None:
        legion.call(prune).hourly().name("prune").on_success(first)

        asked = self.claims(legion).of_push(Request(id="p", body='{"job": "prune"}'), legion.jobs, NOW)
        assert asked.claim.owes == {State.SUCCEEDED}
        assert asked.dispatch is not None
        assert asked.dispatch.header is not None
        assert asked.dispatch.header.owes == {State.SUCCEEDED}

    def test_a_run_that_is_sent_again_owes(self, legion: Legion) -> None:
        legion.call(prune).hourly().name("prune").on_success(first)
        [asked, *_] = self.claims(legion).of_plan(only(legion), NOW, self.plan(), NOW)
        claim = asked.claim
        unsent = Unsent(
            id="r",
            job="prune",
            kind=claim.kind,
            fire_time=claim.fire_time,
            claimed_at=NOW,
            message=claim.message,
        )

        dispatch = self.claims(legion).again(unsent, only(legion))
        assert dispatch is not None
        assert dispatch.header is not None
        assert dispatch.header.owes == {State.SUCCEEDED}

    def test_the_hooks_of_the_whole_schedule_are_owed_for_every_job(self, legion: Legion) -> None:
        legion.call(prune).hourly()
        claims = self.claims(legion)
        job = only(legion)
        legion.on_missed(first)

        assert {one.claim.owes for one in claims.of_plan(job, NOW, self.plan(), NOW)} == {frozenset({State.MISSED})}

    def test_a_message_of_a_job_without_hooks_says_nothing_of_them(self, legion: Legion) -> None:
        legion.call(prune).hourly()

        [asked, *_] = self.claims(legion).of_plan(only(legion), NOW, self.plan(), NOW)
        assert asked.claim.owes == frozenset()
        assert asked.dispatch is not None
        assert "owes" not in asked.dispatch.options()["headers"]["legion"]

    def test_nothing_is_owed_where_no_worker_of_ours_is(self) -> None:
        app = Celery("bare", broker="redis://localhost:6379/0")
        scheduled.hourly(after=first, on_skipped=second, name="prune")(shared_task(prune))
        context = Context.of(app)
        claims = Claims(app, context.config, context.enabled, context.registry.hooks_of)
        job = context.registry.jobs["prune"]

        assert job.policy.hooks.owes
        asked = list(claims.of_plan(job, NOW, self.plan(), NOW))
        asked.append(claims.of_push(Request(id="p", body='{"job": "prune"}'), context.registry.jobs, NOW))
        assert [one.claim.owes for one in asked] == [frozenset()] * 4
        assert [one.dispatch.header for one in asked if one.dispatch is not None] == [None] * 3
