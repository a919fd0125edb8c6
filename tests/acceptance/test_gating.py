"""Steering by hand: pauses, cleared locks, and how a command ends on what is not its fault."""

from __future__ import annotations

import os
import pty
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celery_legion.cli import COMMANDS
from tests.acceptance.conftest import Shop
from tests.servers.polling import eventually
from tests.servers.processes import ROOT

pytestmark = pytest.mark.e2e

CELERY = [sys.executable, "-m", "celery"]

UNREACHABLE = {
    "history": ["history"],
    "list": ["list"],
    "show": ["show", "minutely"],
    "locks": ["locks"],
    "inbox": ["inbox"],
    "logs": ["logs", "5d3a5b0c-7c80-5a40-9d3c-0c4d0e0f0a0b"],
    "pause": ["pause"],
    "resume": ["resume", "minutely"],
    "clear-locks": ["clear-locks", "--yes"],
    "interrupt": ["interrupt", "minutely"],
    "push": ["push", "minutely"],
    "run": ["run"],
    "test": ["test", "minutely"],
}
STAYING = {"dev", "work"}
"""Commands that wait for a store instead of ending."""


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield server.getsockname()[1]


@pytest.fixture
def broken(make_shop: Callable[..., Shop], redis_url: str, tmp_path: Path) -> Callable[..., Shop]:
    """An app with *code* in its own module and *schedule* in the module of its schedule."""

    def make(code: str = "", schedule: str = "") -> Shop:
        package = tmp_path / "brokenapp"
        package.mkdir()
        head = "from celery import Celery\nfrom celery_legion import Legion\n"
        app = f"app = Celery('brokenapp', broker={redis_url!r})\nlegion = Legion(app)\n"
        (package / "__init__.py").write_text(f"{head}{app}{code}\n")
        (package / "schedule.py").write_text(schedule + "\n")
        shop = make_shop(redis_url, redis_url, "")
        shop.module = "brokenapp"
        shop.env["PYTHONPATH"] = f"{ROOT}:{tmp_path}"
        return shop

    return make


def answer(shop: Shop, reply: str, *args: str) -> tuple[int, str]:
    """Return exit code and screen of a command that a person at a terminal answers with *reply*."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), **shop.env}
    process = subprocess.Popen(
        [*CELERY, "-A", shop.module, "legion", *args], stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=ROOT
    )
    os.close(theirs)
    shown, replied, deadline = "", False, time.monotonic() + 30
    try:
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 0.5)[0]:
                continue
            shown += os.read(ours, 65536).decode()
            if "[y/N]" in shown and not replied:
                os.write(ours, reply.encode())
                replied = True
    except OSError:
        pass  # how Linux says that the other side is closed
    finally:
        os.close(ours)
    return process.wait(10), shown


def test_fires_of_a_paused_job_are_skipped_and_it_goes_on_when_resumed(
    make_shop: Callable[..., Shop], redis_url: str
) -> None:
    shop = make_shop(redis_url, redis_url, "tick")
    shop.worker()
    shop.beat()
    eventually(lambda: shop.ledger.starts("tick"), 20, "a first run")

    paused = shop.command("pause", "tick", "--until", "2h", "--note", "moving house")
    assert paused.returncode == 0, paused.stderr
    assert paused.stdout.startswith("tick is paused until 20")
    assert " UTC (in 2h): moving house\n" in paused.stdout

    def lapse() -> list[dict[str, Any]]:
        records = shop.read("history", "tick")
        return [one for one in records if (one["state"], one["reason"]) == ("skipped", "paused") and one["count"] >= 2]

    eventually(lapse, 20, "skipped fires")
    before = len(shop.ledger.starts("tick"))
    time.sleep(1.5)
    assert len(shop.ledger.starts("tick")) == before
    [job] = shop.read("list")
    assert job["paused"]

    assert shop.command("resume", "tick").stdout == "the pause of tick is lifted\n"
    eventually(lambda: len(shop.ledger.starts("tick")) > before, 10, "runs after the pause")
    again = shop.command("resume", "tick")
    assert (again.returncode, again.stdout) == (0, "tick was not paused\n")


def test_a_pause_of_all_jobs_outlasts_the_resuming_of_one_and_says_so(
    make_shop: Callable[..., Shop], redis_url: str
) -> None:
    shop = make_shop(redis_url, redis_url, "minutely,tick")

    assert shop.read("pause")["all"]
    done = shop.command("resume", "tick")
    assert done.returncode == 0
    assert "all jobs are paused until resumed; " in done.stdout
    assert "`celery -A tests.acceptance.app legion resume` without a job lifts that" in done.stdout
    assert shop.read("resume") == {"job": None, "resumed": True, "still_paused": []}


def test_a_pause_that_cannot_be_is_refused_with_examples(make_shop: Callable[..., Shop], redis_url: str) -> None:
    shop = make_shop(redis_url, redis_url, "minutely")

    for until, problem in (("2020-01-01", "is in the past"), ("soonish", "is neither a duration nor a time")):
        done = shop.command("pause", "minutely", "--until", until)
        assert done.returncode == 2
        [line] = done.stderr.splitlines()
        assert problem in line
        assert "'2h'" in line and "'18:00'" in line
    unknown = shop.command("pause", "minutly")
    assert unknown.returncode == 4
    assert "did you mean 'minutely'?" in unknown.stderr
    assert shop.read("pause", "minutely", "--until", "2126-12-01T08:00+01:00")["until"] == "2126-12-01T07:00:00.000Z"


def test_the_lock_of_a_running_run_is_cleared_only_if_someone_agrees(
    make_shop: Callable[..., Shop], redis_url: str
) -> None:
    shop = make_shop(redis_url, redis_url, "long", LEGION_TEST_RUN_LEASE="300")
    assert shop.command("clear-locks").stdout == "no lock is held\n"
    worker = shop.worker()
    beat = shop.beat()
    eventually(lambda: shop.ledger.starts("long"), 20, "a run")
    beat.terminate()
    # Nobody releases its lock any more.
    worker.kill_group()

    for args in (["clear-locks"], ["clear-locks", "long"]):
        refused = shop.command(*args)
        assert refused.returncode == 2
        assert "nothing was cleared" in refused.stderr
        assert "--yes" in refused.stderr
    code, screen = answer(shop, "n\n", "clear-locks", "long")
    assert code == 2
    assert "nothing was cleared" in screen
    assert "1 run goes on without its lock, and another may start beside it" in screen
    assert "`celery -A tests.acceptance.app legion interrupt RUN` ends a run properly" in screen
    [job] = shop.read("list")
    assert job["lock"]["name"] == "long"
    unknown = shop.command("clear-locks", "lung")
    assert unknown.returncode == 4
    assert "did you mean 'long'?" in unknown.stderr

    cleared = shop.command("clear-locks", "long", "--yes")
    assert cleared.returncode == 0
    whose, done = cleared.stdout.splitlines()
    assert whose.startswith("lock long: running on ")
    assert " left, run " in whose and whose.endswith(" of long")
    assert done == "1 lock cleared"
    [job] = shop.read("list")
    assert job["lock"] is None


@pytest.mark.parametrize("silent", [False, True], ids=["closed", "silent"])
def test_each_command_says_in_one_line_that_its_store_is_unreachable(
    make_shop: Callable[..., Shop], silent_port: int, silent: bool, redis_url: str
) -> None:
    assert set(UNREACHABLE) | STAYING == set(COMMANDS)
    shop = make_shop(redis_url, f"redis://:hunter2@127.0.0.1:{silent_port if silent else 1}/0", "minutely")
    env = {**os.environ, "PYTHONPATH": str(ROOT), **shop.env}
    started = {
        name: subprocess.Popen(
            [*CELERY, "-A", shop.module, "legion", *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
            cwd=ROOT,
        )
        for name, args in UNREACHABLE.items()
    }
    results = {}
    for name, process in started.items():
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        right = len(err.splitlines()) == 1 and "legion_store_url" in err and "hunter2" not in err
        results[name] = (process.returncode, out, "one line" if right else err)

    assert results == dict.fromkeys(UNREACHABLE, (3, "", "one line"))


BROKEN = {
    "module": ("app.conf.include = ['brokenapp.schedule']", "\n1 / 0", "brokenapp/schedule.py:2: ZeroDivisionError"),
    "autodiscovered": ("legion.autodiscover(['brokenapp'])", "\n\n1 / 0", "brokenapp/schedule.py:3: ZeroDivisionError"),
    "syntax": ("app.conf.include = ['brokenapp.schedule']", "def (", "brokenapp/schedule.py:1: SyntaxError"),
    "missing": ("app.conf.include = ['brokenapp.nosuch']", "", "No module named 'brokenapp.nosuch'"),
    "late": ("@legion.on_enable\ndef late():\n    {}['x']", "", "brokenapp/__init__.py:7: KeyError: 'x'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_error_in_the_app_s_own_code_is_one_line_with_its_place(broken: Callable[..., Shop], case: str) -> None:
    code, schedule, words = BROKEN[case]
    done = broken(code, schedule).command("list")

    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("Error: the app's ")
    assert words in line


def test_a_condition_that_fails_is_one_line_and_keeps_no_other_job_from_running(broken: Callable[..., Shop]) -> None:
    code = (
        "legion.call(print).every_minute().name('x').when(lambda: 1 / 0)\nlegion.call(print).every_minute().name('y')"
    )
    done = broken(code).command("run", "--verbose")

    assert done.returncode == 0, done.stderr
    assert done.stdout == "1 run sent\n"
    [line] = done.stderr.splitlines()
    assert "condition of job x failed" in line
    assert line.endswith("brokenapp/__init__.py:5: ZeroDivisionError: division by zero")


def test_the_trace_back_is_there_for_whoever_asks(broken: Callable[..., Shop]) -> None:
    code, schedule, words = BROKEN["late"]
    done = broken(code, schedule).command("list", LEGION_TRACEBACK="1")

    assert done.returncode == 2
    assert done.stderr.startswith("Traceback (most recent call last)")
    assert words in done.stderr.splitlines()[-1]


def test_a_reader_that_leaves_early_makes_no_noise(broken: Callable[..., Shop]) -> None:
    shop = broken("for n in range(3000):\n    legion.call(print, n).hourly().name(f'job-{n}')")
    env = {**os.environ, **shop.env, "NO_COLOR": "1"}
    # Unbuffered, Python itself passes over a write that a closing pipe has cut short.
    env.pop("PYTHONUNBUFFERED", None)
    command = f"{sys.executable} -m celery -A brokenapp legion list"
    for options in ("", " --json"):
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}{options} | head -1"],
            capture_output=True,
            text=True,
            env=env,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (141, "")
        assert len(done.stdout.splitlines()) == 1


def test_ctrl_c_is_exit_code_130_without_a_trace_back(broken: Callable[..., Shop]) -> None:
    done = broken("@legion.on_enable\ndef late():\n    raise KeyboardInterrupt").command("list")

    assert done.returncode == 130
    assert done.stderr.strip() == ""


def test_a_misspelt_command_is_told_what_was_meant(broken: Callable[..., Shop]) -> None:
    shop = broken()
    done = shop.command("hstory")

    assert done.returncode == 2
    assert "did you mean 'history'?" in done.stderr
    listed = shop.command()
    assert listed.returncode == 0
    assert all(f"\n  {name} " in listed.stdout for name in COMMANDS)


def complete(shop: Shop, words: str, **env: str) -> list[str]:
    """Return what bash offers for the last of *words*."""
    done = subprocess.run(
        [Path(sys.executable).with_name("celery")],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            **shop.env,
            "_CELERY_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
            **env,
        },
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.split()]


def test_a_shell_completes_the_names_of_jobs_and_stays_silent_about_anything_wrong(
    broken: Callable[..., Shop], make_shop: Callable[..., Shop], redis_url: str
) -> None:
    shop = make_shop(redis_url, redis_url, "kinds")
    app = shop.module

    assert complete(shop, f"celery -A {app} legion pause fl") == ["fluent"]
    assert "nightly" in complete(shop, f"celery -A {app} legion resume ")
    assert complete(shop, f"celery -A {app} legion re") == ["resume"]
    assert complete(shop, f"celery -A {app} legion clear-locks --y") == ["--yes"]
    assert complete(shop, "celery -A nosuch legion pause ") == []
    assert complete(shop, "celery legion pause ") == []
    assert complete(broken("print('noise')\n1 / 0"), "celery -A brokenapp legion pause ") == []
