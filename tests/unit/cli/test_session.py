"""The command group, and what a command says when something is wrong."""

from __future__ import annotations

import logging
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import click
import pytest
from celery import Celery
from click.testing import CliRunner

from celery_legion.cli import COMMANDS, SECTIONS, legion, session
from celery_legion.cli.pausing import PauseEndError, end_words, parse_end
from celery_legion.cli.session import AppCodeError, Command, addressed, app_code_error, called, open_context
from celery_legion.clock import to_ms
from celery_legion.errors import StoreUnavailableError, UnknownJobError

HEAVY = ("rich", "humanize", "redis", "croniter", "cron_descriptor", "celery", "celery_legion.context")
VALUED = {"-A", "--app", "-b", "--broker"}


def run(raised: BaseException, **env: str) -> Any:
    @click.command("failing", cls=Command)
    def failing() -> None:
        raise raised

    return CliRunner().invoke(failing, env=env)


def test_importing_the_group_loads_nothing_heavy() -> None:
    code = f"import sys, celery_legion.cli; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""


def test_the_group_s_help_loads_no_command() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from celery_legion.cli import legion;"
        "assert 'clear-locks' in CliRunner().invoke(legion, ['--help']).output;"
        "print(*[name for name in sys.modules if name.startswith('celery_legion.cli.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""


def test_each_command_stands_in_one_section_with_the_beginning_of_its_own_help() -> None:
    words = [pair for commands in SECTIONS.values() for pair in commands.items()]
    ctx = click.Context(legion)

    assert sorted(name for name, _ in words) == sorted(COMMANDS)
    for name, text in words:
        command = legion.get_command(ctx, name)
        assert command is not None
        assert command.name == name
        assert " ".join((command.help or "").split()).startswith(text)
        # One line at 80 columns.
        assert len(text) <= 65


def test_the_group_without_a_command_shows_its_help() -> None:
    done = CliRunner().invoke(legion, [])
    assert done.exit_code == 0
    assert all(name in done.output for name in COMMANDS)
    assert max(map(len, done.output.splitlines())) <= 80


def test_a_misspelt_command_is_told_what_was_meant() -> None:
    done = CliRunner().invoke(legion, ["clear-lock"])
    assert done.exit_code == 2
    assert "did you mean 'clear-locks'?" in done.output


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["/usr/bin/celery", "-A", "shop", "legion", "list"], "celery -A shop legion"),
        (["/x/celery/__main__.py", "--app=shop", "-q", "legion", "list"], "celery --app=shop -q legion"),
        (["celery", "-A", "legion", "legion", "show", "legion"], "celery -A legion legion"),
        (["celery", "-A", "a shop", "legion"], "celery -A 'a shop' legion"),
        (["celery", "-b", "redis://:hunter2@h/0", "legion"], "celery -b 'redis://:***@h/0' legion"),
        (["celery", "-bredis://u:hunter2@h/0", "legion"], "celery '-bredis://u:***@h/0' legion"),
        (["pytest", "tests", "legion"], "celery legion"),
        (["celery", "-A", "legion"], "celery legion"),
        (["celery"], "celery legion"),
    ],
)
def test_hints_repeat_how_the_command_line_was_called(argv: list[str], expected: str) -> None:
    assert called(argv, VALUED) == expected


def test_an_error_s_hint_names_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.group()
    @click.option("-A", "--app")
    def celery(app: str) -> None: ...

    @celery.command("show", cls=Command)
    def show() -> None:
        raise UnknownJobError("x")

    monkeypatch.setattr(sys, "argv", ["celery", "-A", "shop", "legion", "show"])
    done = CliRunner().invoke(celery, ["-A", "shop", "show"])
    assert done.output == "Error: no job is named 'x'; `celery -A shop legion list` shows all jobs\n"
    assert done.exit_code == 4


def test_a_hint_outside_of_a_command_stays_as_it_is() -> None:
    assert addressed("see `celery legion list`") == "see `celery legion list`"


def test_errors_end_in_one_line_with_their_exit_code() -> None:
    done = run(StoreUnavailableError("redis://h", "refused"))
    assert done.exit_code == 3
    assert done.output.startswith("Error: the store redis://h cannot be reached")
    assert "Traceback" not in done.output


def test_the_trace_back_is_shown_on_demand() -> None:
    done = run(UnknownJobError("x"), LEGION_TRACEBACK="1")
    assert done.exit_code == 4
    assert done.output.startswith("Traceback")
    assert "Traceback" not in run(UnknownJobError("x"), LEGION_TRACEBACK="0").output


def test_an_error_in_code_of_the_app_says_where() -> None:
    # This test is such code: what it raises passes through its lines.
    done = run(ZeroDivisionError("two\nlines \x1b[31m"))
    assert done.exit_code == 2
    [line] = done.output.splitlines()
    assert f"{__name__}, {__file__}:" in line
    assert "ZeroDivisionError: two lines ?[31m" in line


def test_an_error_of_this_package_keeps_its_trace_back() -> None:
    command = Command("failing", callback=partial(to_ms, "no moment"))
    with pytest.raises(TypeError):
        command.invoke(click.Context(command))


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupted_command_exits_130_without_words(raised: BaseException) -> None:
    done = run(raised)
    assert done.exit_code == 130
    assert done.output.strip() == ""


def test_a_module_that_does_not_parse_is_named_by_its_file() -> None:
    with pytest.raises(SyntaxError) as caught:
        compile("\ndef (", "/shop/schedule.py", "exec")
    assert app_code_error(caught.value).place == "/shop/schedule.py:2"


def test_the_handover_comes_before_any_setting_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("shop", set_as_current=False)
    monkeypatch.setattr(session.handover, "adopt", lambda app: app.conf.update(broker_url="redis://handed/0"))
    ctx = click.Context(Command("x"), obj=type("Session", (), {"app": app}))

    assert open_context(ctx).config.store_url == "redis://handed/0"


def test_a_module_that_cannot_be_found_is_named() -> None:
    app = Celery("shop", set_as_current=False, include=["nosuchmodule_of_the_shop"])
    ctx = click.Context(Command("x"), obj=type("Session", (), {"app": app}))

    with pytest.raises(AppCodeError, match=r"modules cannot be loaded: .*nosuchmodule_of_the_shop"):
        open_context(ctx)


def test_a_receiver_that_fails_is_a_warning_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    app = Celery("shop", set_as_current=False)

    @app.on_after_finalize.connect
    def late(**_: Any) -> None:
        raise ValueError("late")

    ctx = click.Context(Command("x"), obj=type("Session", (), {"app": app}))
    open_context(ctx)

    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("Warning: the app's code failed in ")
    assert "ValueError: late" in line
    assert logging.getLogger("celery.utils.dispatch.signal").filters == []


BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 24, 15, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", "2026-11-24T17:00:30"),
        ("1h30m", "2026-11-24T16:30:30"),
        ("18:00", "2026-11-24T17:00:00"),
        ("8:00", "2026-11-25T07:00:00"),
        ("16:00:31", "2026-11-24T15:00:31"),
        # Now, to the second: the next one is tomorrow.
        ("16:00:30", "2026-11-25T15:00:30"),
        ("2026-12-01 08:00", "2026-12-01T07:00:00"),
        ("2026-12-01", "2026-11-30T23:00:00"),
        ("2026-12-01T08:00-05:00", "2026-12-01T13:00:00"),
        ("2026-12-01T08:00Z", "2026-12-01T08:00:00"),
        # Left out and doubled by the clocks.
        ("2027-03-28 02:30", "2027-03-28T01:30:00"),
        ("2027-10-31 02:30", "2027-10-31T00:30:00"),
    ],
)
def test_the_end_of_a_pause_is_a_span_or_a_time_in_the_app_s_zone(text: str, expected: str) -> None:
    assert parse_end(text, NOW, BERLIN) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "18", "2026", "0s", "-2h", "yesterday", "25:00", "2026-11-24 15:59", "9999999w"])
def test_an_end_that_is_none_or_over_is_refused_with_examples(text: str) -> None:
    with pytest.raises(PauseEndError, match=r"'2h' or '90m', or when, such as '18:00' .*Europe/Berlin") as caught:
        parse_end(text, NOW, BERLIN)
    assert caught.value.exit_code == 2


def test_until_when_a_pause_holds_reads_in_the_app_s_zone() -> None:
    end = datetime(2026, 12, 1, 7, 0, tzinfo=UTC)
    now = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
    assert end_words(end, now, BERLIN) == "until 2026-12-01 08:00 Europe/Berlin (in 6d 23h)"
    assert end_words(None, now, BERLIN) == "until resumed"


def test_a_sentence_is_broken_between_words_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    text = "a sentence that is longer than the screen, and averyverylongwordindeed\nand a line"
    assert session.wrapped(text, on_terminal=False) == text
    lines = session.wrapped(text, on_terminal=True).split("\n")
    assert lines == ["a sentence that is", "longer than the", "screen, and", "averyverylongwordindeed", "and a line"]


def test_an_error_steers_no_terminal() -> None:
    assert "\x1b" not in run(UnknownJobError("\x1b[2Jbackup")).output
