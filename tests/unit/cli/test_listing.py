"""``legion list``: rows in every state, on terminals of several widths and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import jsonschema
import pytest
from celery import Celery
from celery.schedules import crontab
from click.testing import CliRunner, Result
from rich.cells import cell_len
from rich.console import Console

from celery_legion import Legion
from celery_legion.cli import listing
from celery_legion.cli.dashboard import notices, summary
from celery_legion.cli.listing import live_table, screen
from celery_legion.cli.row import Board, read_board
from celery_legion.cli.standing import Standing, explain, standing
from celery_legion.errors import StoreUnavailableError
from celery_legion.run import State
from celery_legion.stores.base import Claim, Outcome, Pause, SchedulerInfo
from celery_legion.stores.memory import MemoryStore
from celery_legion.testing.conformance_case import (
    INFO,
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
from tests.acceptance.schemas import JOBS

NOW = minute(1) + timedelta(seconds=30)
WIDTHS = (60, 80, 160, 200)
HOSTILE = ("bad\x1b[2Jname\n\t", "n" * 200, "日次レポート" * 20, "a.b." * 50, "[bold]markup[/bold]")


class Clock:
    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(now=clock.now)


@pytest.fixture
def legion(clock: Clock, store: MemoryStore) -> Legion:
    app = Celery("shop", broker="redis://localhost:6379/0", set_as_current=False)
    app.conf.update(legion_store_url="memory://listing", result_expires=None, timezone="UTC")
    made = Legion(app)
    made.context.clock = clock
    made.context.use_store(store)
    return made


def add(legion: Legion, *names: str, queue: str | None = None, description: str = "") -> None:
    for name in names:
        made = legion.task("t").cron("* * * * *").name(name).description(description)
        if queue is not None:
            made.queue(queue)


def add_hostile(legion: Legion) -> None:
    """Names that the builder refuses, which an entry of ``beat_schedule`` may carry all the same."""
    entry = {"task": "t\x1b[2J", "schedule": crontab(), "args": ("\x07",)}
    legion.context.app.conf.beat_schedule = dict.fromkeys(HOSTILE, entry)


def board_of(legion: Legion) -> Board:
    jobs = sorted(legion.context.registry.jobs.values(), key=lambda job: job.name)
    return read_board(legion.context, jobs)


def dispatched(store: MemoryStore, claim: Claim) -> Claim:
    dispatch(store, claim)
    return claim


def standing_of(legion: Legion, name: str = "job") -> Standing:
    board = board_of(legion)
    return next(standing(row, board) for row in board.rows if row.job.name == name)


def why(legion: Legion, name: str = "job") -> str:
    board = board_of(legion)
    return "\n".join(next(explain(row, board) for row in board.rows if row.job.name == name))


def shown(legion: Legion, width: int = 160, verbose: bool = False) -> str:
    board = board_of(legion)
    return "\n".join(line.plain for line in screen(board, board.rows, width, verbose=verbose))


def call(legion: Legion, *options: str) -> Result:
    from celery.bin.base import CLIContext

    return CliRunner().invoke(
        listing.command, options, obj=CLIContext(app=legion.context.app, no_color=True, workdir=None)
    )


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


def test_a_leader_without_legion_is_a_notice(legion: Legion, store: MemoryStore) -> None:
    add(legion, "job")
    attend(store, "celery")
    store.pulse("beat-1", timedelta(hours=1), 0, 10, replace(INFO, guarded=False))
    [notice] = [line.plain for line in notices(board_of(legion))]
    assert notice.startswith("the scheduler that leads, alpha:101, runs without Legion(app)")
    assert "unlike this app" in notice


def test_schedulers_that_send_to_different_places_are_named_first(legion: Legion, store: MemoryStore) -> None:
    add(legion, "job")
    for owner, place in (("one", "queue a at redis://h"), ("two", "queue b at redis://h"), ("old", "")):
        info = SchedulerInfo(app="shop", fingerprint="f", host="h", pid=1, place=place)
        store.pulse(owner, timedelta(minutes=1), 0, 0, info)

    text = " ".join(shown(legion, 200).split())
    assert "schedulers of queue a at redis://h and queue b at redis://h share one schedule" in text
    assert "legion_key_prefix" in text


def test_without_scheduler_and_workers_the_list_says_so_first(legion: Legion, store: MemoryStore) -> None:
    add(legion, "job")
    know(store, "job")
    assert standing_of(legion) == Standing("no scheduler")
    dispatch(store, fire())
    assert standing_of(legion).detail.endswith("no worker")
    text = shown(legion, 80)
    assert "no scheduler is running" in text
    assert "no worker with Legion(app) is running" in text


def test_a_late_job_without_scheduler_says_both(legion: Legion, store: MemoryStore, clock: Clock) -> None:
    add(legion, "job")
    know(store, "job")
    clock.moment = minute(200)
    assert standing_of(legion) == Standing("late", "by 3h 19m: no scheduler")


def test_a_schedule_without_another_fire_says_never(legion: Legion) -> None:
    legion.task("t").once("2020-01-01T00:00:00+00:00").name("past")
    [row] = board_of(legion).rows
    assert row.next_run is None
    assert "never" in shown(legion)
    assert "its schedule has no fire left" in why(legion, "past")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("verbose", [False, True])
def test_hostile_names_fit_every_width_and_steer_nothing(
    legion: Legion, store: MemoryStore, width: int, verbose: bool
) -> None:
    add_hostile(legion)
    know(store, *HOSTILE)
    attend(store, "celery")
    for name in HOSTILE:
        run(store, fire(job=name))
    lines = shown(legion, width, verbose).split("\n")
    assert max(map(cell_len, lines)) <= width
    assert all(line.isprintable() for line in lines)
    # The narrowest breaks it; what counts is that it is no markup.
    assert "[bold]mark" in "\n".join(lines)


def test_names_are_broken_at_their_dots(legion: Legion) -> None:
    add(legion, "shop.warehouse.inventory.count_everything_that_lies_there")
    lines = [line.split()[0] for line in shown(legion, 60).splitlines() if "shop" in line or "count_" in line]
    assert [line[-1] for line in lines] == [".", "_"] or lines[0].endswith(".")


def test_few_long_names_do_not_wrap_the_short_ones(legion: Legion) -> None:
    add(legion, *(f"shop.billing.invoice_{number:02}" for number in range(20)), "x.y" * 60)
    lines = shown(legion, 160).splitlines()
    assert len([line for line in lines if line.startswith("shop.billing.invoice_")]) == 20


def test_room_that_is_left_shows_queues_and_tags(legion: Legion) -> None:
    add(legion, "job", queue="mail")
    assert "Queue" in shown(legion, 200).splitlines()[0]
    assert "Tags" not in shown(legion, 200).splitlines()[0]
    assert "Queue" not in shown(legion, 64)


def test_verbose_tells_what_a_row_cannot(legion: Legion, store: MemoryStore) -> None:
    legion.task("t.send", args=["x"], kwargs={"n": 1}).daily_at("02:00").timezone("Europe/Berlin").name("job").tags(
        "a", "b"
    ).description("About it").allow_overlapping().options(time_limit=30)
    know(store, "job")
    complete(store, replace(fire(), limit=0), Outcome(state=State.FAILED, error="ValueError: no\nmore"))
    text = shown(legion, 100, verbose=True)
    for words in (
        "t.send('x', n=1)",
        "test_listing.py:",
        "About it",
        "a, b",
        "may overlap; time limit 30",
        "Tue 2030-01-01 02:00:00 Europe/Berlin",
        "ValueError: no",
    ):
        assert words in text


class Mute:
    """A trigger and an argument that cannot show themselves."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")

    def next_after(self, moment: datetime) -> datetime | None:
        return moment + timedelta(minutes=1)

    def anchored(self, moment: datetime) -> Mute:
        return self


def test_a_job_that_cannot_show_itself_hides_no_other(legion: Legion) -> None:
    legion.task("t", args=[Mute()], kwargs={"n": Mute()}).trigger(Mute()).name("mute")
    add(legion, "other")
    text = shown(legion, 200, verbose=True)
    assert "other" in text
    assert "Mute (RuntimeError when shown)" in text
    assert "t(<Mute: RuntimeError when shown>, n=<Mute: RuntimeError when shown>)" in text
    assert "Mute" in call(legion, "--json").stdout


class TestCommand:
    def test_no_jobs_say_how_to_make_one(self, legion: Legion) -> None:
        assert "no jobs" in call(legion).stdout
        assert call(legion, "--json").stdout == "[]\n"

    def test_jobs_come_by_name_or_by_their_next_run(self, legion: Legion) -> None:
        legion.task("t").cron("0 0 1 1 *").name("a-late-one")
        legion.task("t").cron("* * * * *").name("soon")
        legion.task("t").once("2020-01-01T00:00:00+00:00").name("b-never")
        assert names(call(legion)) == ["a-late-one", "b-never", "soon"]
        assert names(call(legion, "--next")) == ["soon", "a-late-one", "b-never"]

    def test_tags_pick_and_an_unknown_one_is_an_error_with_a_hint(self, legion: Legion) -> None:
        for name, tags in (("one", ["cache"]), ("two", ["import"]), ("three", [])):
            legion.task("t").hourly().name(name).tags(*tags)
        assert names(call(legion, "--tag", "cache", "--tag", "import")) == ["one", "two"]
        failed = call(legion, "--tag", "cahce")
        assert failed.exit_code == 4
        assert "did you mean 'cache'?" in failed.stderr

    @pytest.mark.parametrize("options", [["--watch"], ["--watch", "--json"]])
    def test_watching_without_a_terminal_or_as_json_is_a_mistake(self, legion: Legion, options: list[str]) -> None:
        assert call(legion, *options).exit_code == 2

    @pytest.mark.parametrize("options", [[], ["--verbose"]])
    def test_a_program_gets_one_whole_line_a_job(self, legion: Legion, options: list[str]) -> None:
        add_hostile(legion)
        done = call(legion, *options)
        header, *lines = done.stdout.splitlines()
        assert len(lines) == len(HOSTILE)
        assert any(line.startswith("n" * 200 + "  ") for line in lines)
        start = header.index("Schedule")
        assert all("every minute" in line for line in lines), start
        assert "no scheduler is running" in done.stderr

    def test_its_json_has_every_row(self, legion: Legion, store: MemoryStore) -> None:
        import json

        add_hostile(legion)
        know(store, *HOSTILE)
        run(store, fire(job=HOSTILE[0]))
        store.pause(Pause(name=HOSTILE[1], since=NOW, note="why"))
        jobs = json.loads(call(legion, "--json").stdout)
        jsonschema.validate(jobs, JOBS)
        assert {job["name"] for job in jobs} == set(HOSTILE)
        assert {job["state"] for job in jobs} == {"running", "paused", "no scheduler"}


class TestLive:
    def rendered(self, legion: Legion, width: int) -> Sequence[str]:
        console = Console(file=StringIO(), width=width, force_terminal=True, color_system=None)
        console.print(live_table(legion.context, width))
        file = console.file
        assert isinstance(file, StringIO)
        return file.getvalue().splitlines()

    @pytest.mark.parametrize("width", WIDTHS)
    def test_it_is_the_whole_screen_at_any_width(self, legion: Legion, width: int) -> None:
        add_hostile(legion)
        lines = self.rendered(legion, width)
        assert max(map(cell_len, lines)) <= width
        assert any("5 jobs" in line for line in lines)

    def test_a_store_that_does_not_answer_is_said_in_a_line(
        self, legion: Legion, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add(legion, "job")

        def away() -> Any:
            raise StoreUnavailableError("redis://localhost", "refused")

        monkeypatch.setattr(store, "locks", away)
        assert "redis://localhost" in "".join(self.rendered(legion, 80))


def names(done: Result) -> list[str]:
    assert done.exit_code == 0, done.output
    return [line.split()[0] for line in done.stdout.splitlines()[1:]]
