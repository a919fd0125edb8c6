"""``legion list``: rows in every state, on terminals of several widths and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import jsonschema
import pytest
from celery.schedules import crontab
from click.testing import CliRunner, Result
from rich.cells import cell_len
from rich.console import Console

from celery_legion import Legion
from celery_legion.cli import listing
from celery_legion.cli.dashboard import notices
from celery_legion.cli.listing import live_table
from celery_legion.cli.standing import Standing
from celery_legion.errors import StoreUnavailableError
from celery_legion.run import State
from celery_legion.stores.base import Outcome, Pause, SchedulerInfo
from celery_legion.stores.memory import MemoryStore
from celery_legion.testing.conformance_case import (
    INFO,
    attend,
    complete,
    dispatch,
    fire,
    know,
    minute,
    run,
)
from tests.acceptance.schemas import JOBS
from tests.unit.cli.boards import NOW, Clock, add, board_of, shown, standing_of, why

WIDTHS = (60, 80, 160, 200)
HOSTILE = ("bad\x1b[2Jname\n\t", "n" * 200, "日次レポート" * 20, "a.b." * 50, "[bold]markup[/bold]")


def add_hostile(legion: Legion) -> None:
    """Names that the builder refuses, which an entry of ``beat_schedule`` may carry all the same."""
    entry = {"task": "t\x1b[2J", "schedule": crontab(), "args": ("\x07",)}
    legion.context.app.conf.beat_schedule = dict.fromkeys(HOSTILE, entry)


def call(legion: Legion, *options: str) -> Result:
    from celery.bin.base import CLIContext

    return CliRunner().invoke(
        listing.command, options, obj=CLIContext(app=legion.context.app, no_color=True, workdir=None)
    )


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
