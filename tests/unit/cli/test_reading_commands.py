"""``legion history``, ``show`` and ``locks``: what they say to people and to programs."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import jsonschema
import pytest
from celery import Celery
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from celery_legion import Legion
from celery_legion.cli import grid, history, locks, render, showing
from celery_legion.cli.grid import Column, cell, lay_out, wrap
from celery_legion.run import Kind, Reason, Record, State
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
    pushed,
    run,
    skip,
)
from tests.acceptance.schemas import LOCKS, RECORDS, SHOWN

NOW = minute(30)
BERLIN = "Europe/Berlin"
WIDTHS = (60, 80, 160, 200)
HOUR = timedelta(hours=1)
COMMANDS = {"history": "history", "show": "showing", "locks": "locks"}


class Clock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return NOW.timestamp()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(now=lambda: NOW)


@pytest.fixture
def legion(store: MemoryStore) -> Legion:
    app = Celery("shop", broker="redis://localhost:6379/0", set_as_current=False)
    app.conf.update(legion_store_url="memory://reading", result_expires=None, timezone="UTC", legion_timezone=BERLIN)
    made = Legion(app)
    made.context.clock = Clock()
    made.context.use_store(store)
    made.task("t.send", args=["x"]).cron("* * * * *").name("job").on_failure(alert)
    know(store, "job")
    return made


def alert() -> None: ...


def call(legion: Legion, name: str, *args: str) -> Result:
    from celery.bin.base import CLIContext

    command = importlib.import_module(f"celery_legion.cli.{COMMANDS[name]}").command
    return CliRunner().invoke(command, args, obj=CLIContext(app=legion.context.app, no_color=True, workdir=None))


def read(legion: Legion, name: str, *args: str) -> Any:
    done = call(legion, name, *args, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def fail(store: MemoryStore, number: int = 1, **fields: Any) -> None:
    complete(store, replace(fire(number), mark=minute(0)), Outcome(state=State.FAILED, **fields))


def on_screen(store: MemoryStore, width: int = 80) -> str:
    return "\n".join(line.plain for line in history.screen(store.runs(None, 50), NOW, BERLIN, width))


def shown(legion: Legion, width: int = 80) -> str:
    found = showing.look_up(legion.context, "job")
    return "\n".join(line.plain for line in showing.screen(found, width, BERLIN))


class TestHistory:
    def test_a_failure_says_its_error_exit_code_hook_and_last_words(self, store: MemoryStore, legion: Legion) -> None:
        fail(
            store,
            error="OSError: disk is full\nand more",
            exit_code=9,
            output="one\nlast\x1b[31m words\n\n",
            hook_error="alert: nobody home",
        )
        text = on_screen(store, 200)
        assert (
            "    OSError: disk is full; exit code 9; said: last\\x1b[31m words; hook failed: alert: nobody home" in text
        )

    def test_an_exit_code_that_the_error_tells_is_not_told_twice(self, store: MemoryStore, legion: Legion) -> None:
        fail(store, error="CommandFailedError: the command of job 'job' exited with code 4: no", exit_code=4)
        assert "exit code" not in on_screen(store)

    def test_a_trace_back_is_told_by_its_last_line(self, store: MemoryStore, legion: Legion) -> None:
        fail(store, error="Traceback (most recent call last):\n  File x\nValueError: no")
        assert "    ValueError: no" in on_screen(store)

    def test_skips_are_counted_with_since_when_and_why_in_words(self, store: MemoryStore, legion: Legion) -> None:
        lapse = skip(1, "overlap", last=12, count=12)
        store.claim([replace(fire(12), mark=minute(0), run_id=None, lapses=(lapse,))], "beat-1", None, HOUR)
        text = on_screen(store)
        assert "01:12:00" in text
        assert "skipped ×12" in text
        assert "since 01:01:00; an earlier run was not over (overlap)" in text

    def test_times_are_in_the_zone_of_the_app_and_dates_as_far_as_needed(
        self, store: MemoryStore, legion: Legion
    ) -> None:
        complete(store, fire())
        records = store.runs("job", 1)
        assert "Due (Europe/Berlin)" in on_screen(store)
        for later, expected in ((0, "01:01:00"), (40, "Jan 01 01:01:00"), (400, "2030-01-01 01:01:00")):
            lines = history.screen(records, NOW + timedelta(days=later), BERLIN, 80)
            assert lines[1].plain.startswith(f"{expected}  ")

    def test_what_was_pushed_or_tried_again_says_so(self, store: MemoryStore, legion: Legion) -> None:
        record = store.runs("job", 1)
        complete(store, pushed("p-1"))
        [record] = store.runs("job", 1)
        assert history.detail(replace(record, attempt=3), NOW, BERLIN) == ["pushed", "attempt 3"]

    def test_what_waits_says_for_what_and_what_failed_says_where(self, store: MemoryStore, legion: Legion) -> None:
        know(store, "other")
        dispatch(store, fire())
        complete(store, fire(job="other"), Outcome(state=State.FAILED, error="E"))
        assert "    waits for a worker" in on_screen(store)
        assert "    E; on worker-1" in on_screen(store)
        assert "Worker" in on_screen(store, 100)

    @pytest.mark.parametrize(("width", "whole"), [(80, False), (160, True)])
    def test_a_run_is_named_by_enough_of_its_id(
        self, store: MemoryStore, legion: Legion, width: int, whole: bool
    ) -> None:
        run_id = "51c7a0de-1111-2222-3333-444455556666"
        complete(store, replace(fire(), run_id=run_id))
        assert "51c7a0de" in on_screen(store, width)
        assert (run_id in on_screen(store, width)) is whole
        assert run_id in call(legion, "history").stdout

    @pytest.mark.parametrize("width", WIDTHS)
    def test_hostile_records_fit_and_steer_nothing(self, width: int) -> None:
        hostile = "\x1b[2J\n日本" * 40
        record = Record(
            id=hostile,
            job=hostile,
            kind=Kind.SCHEDULED,
            fire_time=NOW,
            last_fire_time=NOW,
            state=State.FAILED,
            reason=hostile,
            error=hostile,
            output=hostile,
            worker=hostile,
            started_at=NOW,
        )
        lines = [line.plain for line in history.screen([record], NOW, BERLIN, width)]
        assert all(line.isprintable() for line in lines)
        # Whole ids go on beyond a width for which they were never made.
        assert max(map(cell_len, lines)) <= width

    def test_a_program_gets_one_line_a_record(self, store: MemoryStore, legion: Legion) -> None:
        fail(store, error="E: one\ntwo")
        complete(store, fire(2))
        done = call(legion, "history")
        header, *lines = done.stdout.splitlines()
        assert len(lines) == 2
        assert header.index("Outcome") == lines[0].index("succeeded") == lines[1].index("failed")
        assert lines[1].startswith("2030-01-01 01:01:00  job  ")
        assert lines[1].endswith("  E: one")
        assert call(legion, "history", "--failed").stdout.count("\n") == 2

    def test_nothing_is_said_as_such_beside_the_lines(self, legion: Legion) -> None:
        done = call(legion, "history")
        assert (done.exit_code, done.stdout, done.stderr) == (0, "", "nothing has run yet\n")
        assert call(legion, "history", "jop").exit_code == 4

    def test_its_json_is_whole(self, store: MemoryStore, legion: Legion) -> None:
        fail(store, error="E", exit_code=1)
        run(store, fire(2))
        store.claim([fire(3)], "beat-1", None, HOUR)
        records = read(legion, "history")
        jsonschema.validate(records, RECORDS)
        assert {record["state"] for record in records} == {"failed", "running", "skipped"}


class TestShow:
    def test_everything_of_a_job_is_on_one_screen(self, store: MemoryStore, legion: Legion) -> None:
        lead(store)
        attend(store, "celery")
        fail(store, 30, error="ValueError: no", output="\n".join(f"line {number}" for number in range(20)))
        text = shown(legion)
        for words in (
            "job  idle · failed 0s ago",
            "every minute, Europe/Berlin   * * * * *",
            "Tue 2030-01-01 01:31:00 Europe/Berlin   in 1m",
            "t.send('x')",
            "test_reading_commands.py:",
            "overlap skip (legion_overlap)",
            "(legion_catch_up)",
            "on_failure   alert",
            "lock         free",
            "ValueError: no",
            "the last 6 lines of 20",
            "  line 19",
        ):
            assert words in text
        assert "line 13" not in text

    @pytest.mark.parametrize("width", WIDTHS)
    def test_it_fits_every_width(self, store: MemoryStore, legion: Legion, width: int) -> None:
        legion.command("printf '\x1b[2J%s'" + " 日本語" * 60).hourly().name("wide").description("d\x07 " * 100)
        know(store, "wide")
        run(store, fire(job="wide"))
        found = showing.look_up(legion.context, "wide")
        lines = [line.plain for line in showing.screen(found, width, BERLIN)]
        assert max(map(cell_len, lines)) <= width
        assert all(line.isprintable() for line in lines)

    def test_a_run_and_a_pause_are_explained_with_what_to_do(self, store: MemoryStore, legion: Legion) -> None:
        run(store, fire())
        attend(store, "celery")
        store.pause(Pause(name="job", since=NOW, note="bank"))
        text = shown(legion, 200)
        assert "run job-1 began 0s ago on worker-1; `celery legion interrupt job-1` ends it" in text
        assert "it is paused since 01:30 “bank”; `celery legion resume job` lifts it" in text
        assert "no scheduler is running" in text

    def test_a_job_that_never_ran_and_never_will_says_so(self, legion: Legion) -> None:
        legion.task("t").once("2020-01-01T00:00:00+00:00").name("past")
        found = showing.look_up(legion.context, "past")
        text = "\n".join(line.plain for line in showing.screen(found, 80, BERLIN))
        assert "next         never again" in text
        assert "it has not run yet" in text

    @pytest.mark.parametrize("build", ["every", "once", "command"])
    def test_its_json_is_whole(self, store: MemoryStore, legion: Legion, build: str) -> None:
        match build:
            case "every":
                legion.task("t").every("5m").name("one").weekdays()
            case "once":
                legion.task("t").once("2020-01-01T00:00:00+00:00").name("one")
            case _:
                legion.command("true").hourly().name("one").after(alert)
        know(store, "one")
        complete(store, fire(job="one"))
        found = read(legion, "show", "one")
        jsonschema.validate(found, SHOWN)
        assert len(found["records"]) == 1
        assert bool(found["next_fires"]) is (build != "once")

    def test_without_a_terminal_nothing_is_wrapped(self, legion: Legion) -> None:
        legion.task("t", args=["y" * 300]).hourly().name("long")
        assert "y" * 300 in call(legion, "show", "long").stdout

    def test_an_unknown_job_is_an_error_with_a_hint(self, legion: Legion) -> None:
        done = call(legion, "show", "jop")
        assert done.exit_code == 4
        assert "did you mean 'job'?" in done.stderr


class TestLocks:
    def test_each_holder_has_a_line(self, store: MemoryStore, legion: Legion) -> None:
        know(store, "other")
        run(store, fire())
        dispatch(store, fire(job="other"))
        done = call(legion, "locks")
        header, *lines = done.stdout.splitlines()
        assert [line.split()[:4] for line in lines] == [
            ["job", "job-1", "job", "running"],
            ["other", "other-1", "other", "sent"],
        ]
        assert lines[0].endswith("worker-1")
        assert header.split() == ["Lock", "Run", "Job", "State", "Since", "Left", "Worker"]

    def test_a_lock_that_jobs_share_names_the_job_that_holds_it(self, store: MemoryStore, legion: Legion) -> None:
        run(store, replace(fire(), lock="shared"))
        found = locks.read_locks(legion.context)
        [title, line] = [line.plain.split() for line in locks.screen(found, NOW, 80, alike=False)]
        assert (title[2], line[:3]) == ("Job", ["shared", "job-1", "job"])
        assert "Job" not in locks.screen(found, NOW, 80, alike=True)[0].plain

    def test_its_json_says_since_when(self, store: MemoryStore, legion: Legion) -> None:
        run(store, fire())
        found = read(legion, "locks")
        jsonschema.validate(found, LOCKS)
        assert [(one["lock"], one["run"], one["since"]) for one in found] == [
            ("job", "job-1", "2030-01-01T00:30:00.000Z")
        ]

    def test_no_lock_is_said_beside_the_lines(self, legion: Legion) -> None:
        done = call(legion, "locks")
        assert (done.stdout, done.stderr) == ("", "no lock is held\n")
        assert read(legion, "locks") == []


def test_every_reason_has_words_that_fit_a_table() -> None:
    assert set(render.REASONS) == set(Reason)
    assert max(map(len, render.REASONS.values())) <= 45
    assert render.reason_words("overlap") == "an earlier run was not over (overlap)"
    assert render.reason_words("the bank\x1b is closed") == "the bank\\x1b is closed"
    assert render.reason_words(None) == ""


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0s"), (89, "89s"), (90, "1m"), (7199, "119m"), (7200, "2h"), (172_800, "2d")]
)
def test_coarse_words_are_whole_numbers_of_one_unit(seconds: int, words: str) -> None:
    assert render.coarse_words(timedelta(seconds=seconds)) == words


class TestGrid:
    @pytest.mark.parametrize(
        ("text", "width", "parts"),
        [
            ("every 5 minutes", 20, ["every 5 minutes"]),
            ("every 5 minutes", 10, ["every 5", "minutes"]),
            ("shop.reports.daily", 14, ["shop.reports.", "daily"]),
            ("  at 02:00, Europe/Berlin", 12, ["  at 02:00,", "  Europe/", "  Berlin"]),
            ("日本語日本語", 5, ["日本", "語日", "本語"]),
            ("nnnnnn", 4, ["nnnn", "nn"]),
            ("nn", 0, ["n", "n"]),
        ],
    )
    def test_a_line_is_broken_at_the_best_place(self, text: str, width: int, parts: list[str]) -> None:
        assert [part.plain for part in wrap(Text(text), width)] == parts

    def test_a_line_keeps_its_colours_when_it_is_broken(self) -> None:
        first, second = wrap(Text.assemble(("failed", "red"), " 3m ago"), 8)
        assert [(span.start, span.end, span.style) for span in first.spans] == [(0, 6, "red")]
        assert second.plain == "3m ago"

    def test_the_column_that_wraps_the_fewest_rows_gives_way(self) -> None:
        rows = [[cell("short"), cell("twelve chars")]] * 5 + [[cell("a much longer cell than the others"), cell("x")]]
        widths = grid.fit([Column("A", least=5), Column("B", least=5)], rows, 30)
        assert widths[1] == 12
        assert sum(widths) + grid.GAP == 30

    @given(
        rows=st.lists(st.lists(st.text("ab .日", max_size=30), min_size=3, max_size=3), max_size=6),
        width=st.integers(22, 60),
    )
    def test_a_grid_fits_whatever_stands_in_it(self, rows: list[list[str]], width: int) -> None:
        columns = [Column("Some title", least=9), Column("B", right=True), Column("C", spare=True)]
        lines = lay_out(columns, [[cell(text) for text in row] for row in rows], width)
        assert max(cell_len(line.plain) for line in lines) <= width
        shown = "".join(line.plain for line in lines)
        assert all(shown.count("日") >= sum(row[at].count("日") for row in rows) for at in (0, 1))

    def test_a_grid_of_nothing_has_its_titles(self) -> None:
        assert [line.plain for line in lay_out([Column("A\na"), Column("B")], [], 80)] == ["A  B", "a"]
