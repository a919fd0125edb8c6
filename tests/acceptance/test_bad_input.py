"""Bad input: one line that says what to do, and the documented exit code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import Shop
from tests.servers.processes import ROOT

pytestmark = pytest.mark.e2e

HEAD = """
from celery import Celery
from celery_legion import Legion, scheduled
app = Celery("bad", broker={broker!r})
legion = Legion(app)
def f(): ...
"""
CASES = {
    "impossible_date": ('legion.call(f).cron("30 2 30 2 *")', "no date matches day-of-month '30'"),
    "bad_zone": ('legion.call(f).daily().timezone("Europe/Berln")', "did you mean 'Europe/Berlin'"),
    "lambda": ("legion.call(lambda: 1).hourly()", "has no stable name; give the job one"),
    "two_jobs": (
        "legion.call(f).hourly()\nlegion.call(f).daily()",
        "badapp.py:7 and at {folder}/badapp.py:8; give one of them another name",
    ),
    "decorated": ('@scheduled("61 * * * *")\ndef g(): ...', "cron expression '61 * * * *'"),
    "bare": ("@scheduled\ndef g(): ...", "job 'badapp.g': @scheduled does not say when; write @scheduled('*/5"),
    "empty": ("@scheduled()\ndef g(): ...", "badapp.py:7)"),
    "command": (
        'legion.command("true").umask("9").hourly()',
        "'9' is no umask; write its octal digits as text, such as '027'",
    ),
    "ping": ('legion.call(f).hourly().then_ping("hc-ping.com")', "a URL that begins with http:// or https://"),
    "setting": ('app.conf.legion_stor_url = "x"', "did you mean 'legion_store_url'"),
    "store": ('app.conf.legion_store_url = "mongodb://:hunter2@localhost"', "a URL with one of the schemes"),
    "entries": ('app.conf.beat_schedule = [{"task": "t", "schedule": 5}]', "a dict of entries by name"),
}


@pytest.fixture
def bad(make_shop: Callable[..., Shop], tmp_path: Path, redis_url: str) -> Callable[[str], Shop]:
    def make(code: str, broker: str = redis_url) -> Shop:
        (tmp_path / "badapp.py").write_text(HEAD.format(broker=broker) + code + "\n")
        shop = make_shop(broker, broker, "")
        shop.module = "badapp"
        shop.env["PYTHONPATH"] = f"{ROOT}:{tmp_path}"
        return shop

    return make


@pytest.mark.parametrize("case", CASES)
def test_a_command_says_in_one_line_what_is_wrong(bad: Callable[..., Shop], case: str, tmp_path: Path) -> None:
    code, words = CASES[case]
    done = bad(code).command("list")

    assert done.returncode == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert words.format(folder=tmp_path) in line
    assert "hunter2" not in line


EAGER = ("legion.call(f).hourly()\napp.conf.task_always_eager = True", "turn it off to start the scheduler")


@pytest.mark.parametrize("case", [*CASES, "eager"])
def test_beat_says_in_one_line_what_is_wrong_and_ends(bad: Callable[..., Shop], case: str, tmp_path: Path) -> None:
    code, words = EAGER if case == "eager" else CASES[case]
    beat = bad(code).beat()

    assert beat.wait(30) == 2
    [line] = [line for line in beat.output.splitlines() if "celery_legion: " in line]
    assert words.format(folder=tmp_path) in line
    # It is the last, and the banner stands before it.
    assert beat.output.splitlines()[-1] == line
    assert "Traceback" not in beat.output
    assert "hunter2" not in beat.output


def test_a_one_shot_refuses_tasks_that_would_run_inside_it(bad: Callable[..., Shop]) -> None:
    code, words = EAGER
    done = bad(code).command("run")

    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert words in line


def test_a_word_that_no_schedule_knows_is_no_trace_back(bad: Callable[..., Shop]) -> None:
    # Celery's own report of an app's module that cannot be imported.
    done = bad("legion.call(f).dayly()").command("list")

    assert done.returncode == 2
    assert "dayly" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["list", "history", "run"])
def test_an_unreachable_store_is_exit_code_3(bad: Callable[..., Shop], command: str) -> None:
    done = bad("legion.call(f).hourly()", "redis://:hunter2@127.0.0.1:1/0").command(command)

    assert done.returncode == 3
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "legion_store_url" in done.stderr
    assert "hunter2" not in done.stderr


def test_beat_stays_up_while_its_store_is_unreachable_and_shows_no_password(bad: Callable[..., Shop]) -> None:
    beat = bad("legion.call(f).hourly()", "redis://:hunter2@127.0.0.1:1/0").beat()
    beat.wait_for("nothing is sent until it answers")

    assert beat.alive
    assert beat.terminate() == 0
    assert "hunter2" not in beat.output
    assert not list(ROOT.glob("celerybeat-schedule*"))


def test_a_command_without_an_app_asks_for_one() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "celery", "legion", "list"], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 2
    assert "celery -A yourapp legion" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_job_is_exit_code_4_with_what_was_meant(bad: Callable[..., Shop]) -> None:
    done = bad("legion.call(f).hourly().name('nightly')").command("history", "nightli")

    assert done.returncode == 4
    assert "did you mean 'nightly'" in done.stderr


def test_a_worker_with_a_broken_job_says_so_and_works_on(bad: Callable[..., Shop]) -> None:
    shop = bad('legion.call(f).cron("61 * * * *")')
    worker = shop.worker()

    assert "cron expression '61 * * * *'" in worker.output
    assert worker.terminate() == 0


def test_a_worker_ends_with_one_line_for_a_setting_that_cannot_work(bad: Callable[..., Shop]) -> None:
    done = bad('app.conf.legion_stor_url = "x"').celery("worker", "--pool", "solo", "--loglevel", "INFO")

    assert done.returncode == 2
    assert "no setting is called 'legion_stor_url' (did you mean 'legion_store_url'?)" in done.stderr
    assert "Traceback" not in done.stderr
