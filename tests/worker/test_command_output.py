"""What a command may write: anything, and as much as it likes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from celery_legion.run import State
from tests.servers.patience import patient
from tests.servers.polling import eventually
from tests.worker.survivors import survivors
from tests.worker.trial import Trial

pytestmark = pytest.mark.e2e

GIGABYTE = 1_000_000_000
LIMIT = 8192
GROWTH = 40_000
"""Kilobytes by which a pool process may grow over whatever a command writes."""


def memory(pid: int) -> int:
    """Return a process's peak of resident memory in kilobytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError(f"no memory of process {pid}")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.timeout(420)
def test_a_gigabyte_in_lines_is_logged_whole_in_flat_memory(new_trial: Callable[..., Trial]) -> None:
    line = "yes 0123456789012345678901234567890123456789 | head -c 1000000000; echo; echo the end"
    trial = new_trial(commands={"flood": {"line": line}, "small": {"line": "echo small"}})
    worker = trial.worker("-c", "1")
    assert trial.ended(trial.command("small")).state is State.SUCCEEDED
    [child] = children(worker.pid)
    before = memory(child)
    end = trial.ended(trial.command("flood"), 120)
    assert end.state is State.SUCCEEDED
    assert memory(child) - before < GROWTH
    assert end.output is not None
    assert end.output.endswith("0123456\nthe end\n")
    assert len(end.output) < LIMIT + 100
    assert worker.log.stat().st_size > GIGABYTE
    worker.log.write_bytes(b"")


def test_a_line_of_100_mb_is_cut_and_logged_whole(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(
        commands={"line": {"line": "head -c 100000000 /dev/zero | tr '\\0' x"}, "small": {"line": "true"}}
    )
    worker = trial.worker("-c", "1")
    trial.ended(trial.command("small"))
    [child] = children(worker.pid)
    before = memory(child)
    end = trial.ended(trial.command("line"), 60)
    assert end.state is State.SUCCEEDED
    assert memory(child) - before < GROWTH
    assert end.output == f"[{100_000_000 - LIMIT} bytes before this are in the log]\n" + LIMIT * "x"
    assert worker.log.read_bytes().count(b"x") >= 100_000_000


def test_nul_bytes_and_invalid_utf_8_are_kept_readable(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(commands={"odd": {"line": r"printf 'a\0b \377\376 \033[31mred ä\n'; printf 'no newline' >&2"}})
    worker = trial.worker("-c", "1")
    end = trial.ended(trial.command("odd"))
    assert end.state is State.SUCCEEDED
    assert end.output == "a\N{REPLACEMENT CHARACTER}b \\xff\\xfe \x1b[31mred ä\nno newline"
    eventually(lambda: "no newline" in worker.output, 10, "the log")
    assert "a\\x00b \\xff\\xfe \\x1b[31mred ä" in worker.output
    assert "\x1b[31mred" not in worker.output


def test_a_command_that_reads_gets_the_end_of_its_input_at_once(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(commands={"reader": {"line": "cat; read line; echo got:$line:$?"}})
    trial.worker("-c", "1")
    end = trial.ended(trial.command("reader"))
    assert (end.state, end.output) == (State.SUCCEEDED, "got::1\n")


def test_a_background_child_that_keeps_the_output_open_does_not_keep_the_run(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(
        commands={"daemon": {"line": "setsid sh -c 'trap \"\" TERM HUP; sleep 100; echo no' & echo done"}}
    )
    trial.worker("-c", "1")
    begun = time.monotonic()
    run = trial.command("daemon")
    end = trial.ended(run, 20)
    assert (end.state, end.output, end.exit_code) == (State.SUCCEEDED, "done\n", 0)
    assert time.monotonic() - begun < patient(10)
    assert survivors(run) == []


def test_secrets_are_masked_everywhere(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(
        commands={
            "secretive": {
                "line": "echo token $TOKEN; echo literal s3cr3t >&2; exit 1",
                "env": [{"TOKEN": "hunter2-hunter2"}],
                "secret": ["TOKEN", "s3cr3t"],
            }
        }
    )
    worker = trial.worker("-c", "1", "-E")
    run = trial.command("secretive")
    end = trial.ended(run)
    assert (end.state, end.exit_code) == (State.FAILED, 1)
    assert sorted((end.output or "").splitlines()) == ["literal ***", "token ***"]
    result = trial.client.AsyncResult(run)
    eventually(lambda: result.state == "FAILURE", 10, "the result")
    shown = "\n".join([worker.output, str(end), str(result.result), repr(result.result), str(result.traceback)])
    assert "***" in worker.output
    assert "hunter2" not in shown
    assert "s3cr3t" not in shown


def test_a_command_sees_its_run(new_trial: Callable[..., Trial]) -> None:
    trial = new_trial(commands={"curious": {"line": "env | grep ^LEGION_ | grep -v ^LEGION_TEST_ | sort"}})
    trial.worker("-c", "1")
    first = trial.ended(trial.command("curious"))
    second = trial.ended(trial.command("curious"))
    lines = dict(line.split("=", 1) for line in (second.output or "").splitlines())
    assert lines == {
        "LEGION_ATTEMPT": "1",
        "LEGION_FIRE_TIME": lines["LEGION_FIRE_TIME"],
        "LEGION_JOB": "curious",
        "LEGION_KIND": "scheduled",
        "LEGION_PREVIOUS_SUCCESS": lines["LEGION_PREVIOUS_SUCCESS"],
        "LEGION_RUN_ID": second.id,
        "LEGION_TOKEN": str(second.token),
    }
    assert f"LEGION_FIRE_TIME={lines['LEGION_PREVIOUS_SUCCESS']}" in (first.output or "")
    assert "LEGION_PREVIOUS_SUCCESS=\n" in (first.output or "")


def test_how_it_is_executed(new_trial: Callable[..., Trial], tmp_path: Path) -> None:
    trial = new_trial(
        commands={
            "shaped": {
                "line": ["sh", "-c", "pwd; umask; nice; echo $GREETING; echo $0", "$HOME"],
                "cwd": str(tmp_path),
                "umask": "027",
                "nice": 7,
                "env": [{"GREETING": "good day"}],
            },
            "missing": {"line": ["no-such-program", "x"]},
            "nowhere": {"line": "true", "cwd": "/no/such/folder"},
        }
    )
    trial.worker("-c", "1")
    end = trial.ended(trial.command("shaped"))
    assert (end.output or "").splitlines() == [str(tmp_path), "0027", "7", "good day", "$HOME"]
    missing = trial.ended(trial.command("missing"))
    assert (missing.state, missing.exit_code) == (State.FAILED, 127)
    assert missing.error == (
        "CommandFailedError: the command of job 'missing' exited with code 127: "
        "the command cannot be executed: No such file or directory (no-such-program)"
    )
    nowhere = trial.ended(trial.command("nowhere"))
    assert nowhere.exit_code == 127
    assert "(/no/such/folder)" in (nowhere.output or "")


def test_it_runs_as_another_user_where_the_worker_is_root_and_is_refused_elsewhere(
    new_trial: Callable[..., Trial],
) -> None:
    trial = new_trial(
        commands={
            "other": {"line": "id -un; id -Gn; echo $HOME $USER; sleep 100", "user": "nobody", "timeout": "1s"},
            "nobody-known": {"line": "true", "user": "no-such-user"},
        }
    )
    worker = trial.worker("-c", "1")
    assert "The command of job 'nobody-known' will fail on this worker: this machine has no user" in worker.output
    missing = trial.ended(trial.command("nobody-known"))
    assert missing.error == (
        "CommandRefusedError: no command is executed for job 'nobody-known': this machine has no user 'no-such-user'"
    )
    run = trial.command("other")
    end = trial.ended(run)
    if os.geteuid() == 0:
        user, groups, home, *rest = (end.output or "").splitlines()
        assert (user, "root" in groups.split(), home.split()[-1], rest) == ("nobody", False, "nobody", [])
        assert (end.state, end.reason, survivors(run)) == (State.FAILED, "time_limit", [])
    else:
        assert "only a worker that is root may run it as user 'nobody'" in (end.error or "")
