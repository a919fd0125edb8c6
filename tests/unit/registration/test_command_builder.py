"""Commands on the schedule: how they are described, named and executed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from celery_legion import Legion
from celery_legion.command import TASK, Command
from celery_legion.errors import DuplicateJobError, InvalidJobError
from celery_legion.job import ActionKind
from tests.unit.registration.commands import LINE, command_of, only


def refusal(legion: Legion) -> str:
    with pytest.raises(InvalidJobError) as caught:
        legion.jobs
    return str(caught.value)


def test_text_is_for_a_shell(legion: Legion) -> None:
    legion.command("ls | wc -l").hourly()

    assert command_of(only(legion)).argv == ["/bin/sh", "-c", "ls | wc -l"]


@pytest.mark.parametrize("given", [["rsync", "-a", "/my files"], ("rsync", "-a", "/my files")])
def test_a_list_is_executed_without_a_shell(legion: Legion, given: Any) -> None:
    legion.command(given).hourly()

    command = command_of(only(legion))
    assert command.argv == ["rsync", "-a", "/my files"]
    assert command.readable == "rsync -a '/my files'"


def test_a_list_that_is_changed_afterwards_changes_no_job(legion: Legion) -> None:
    words = ["rsync", "-a"]
    legion.command(words).hourly()
    words.append("--delete")

    assert command_of(only(legion)).argv == ["rsync", "-a"]


def test_the_job_sends_the_task_for_commands(legion: Legion) -> None:
    legion.command("true").hourly()

    action = only(legion).action
    assert (action.task, action.kind) == (TASK, ActionKind.COMMAND)


@pytest.mark.parametrize(
    ("given", "program"),
    [
        (LINE, "pg_dump"),
        ("/usr/bin/pg_dump shop", "pg_dump"),
        ("PGPASSWORD=hunter2 pg_dump shop", "pg_dump"),
        ("PGPASSWORD='hunter 2' pg_dump shop", "pg_dump"),
        (["/usr/bin/pg_dump", "--password", "hunter2"], "pg_dump"),
        ("echo 'hunter2", "command"),
        ("PGPASSWORD=hunter2", "command"),
        ("'/opt/größe'", "gre"),
    ],
)
def test_a_command_is_named_by_its_program_and_a_digest(legion: Legion, given: Any, program: str) -> None:
    legion.command(given).hourly()

    name, _, digest = only(legion).name.rpartition("-")
    assert name == program
    assert len(digest) == 8
    assert int(digest, 16) >= 0


@pytest.mark.parametrize("given", [["./x=y", "hunter2"], ["/opt/a=b/tool", "--hunter2"]])
def test_a_name_tells_no_argument_of_a_list(given: list[str]) -> None:
    assert "hunter2" not in Command(line=tuple(given)).name


def test_the_name_stays_from_process_to_process() -> None:
    assert Command(line=LINE).name == "pg_dump-7c0871fc"
    assert Command(line=("pg_dump", "shop")).name == "pg_dump-cded997f"


def test_the_name_goes_by_the_line_alone() -> None:
    plain = Command(line=LINE)
    told = Command(line=LINE, cwd="/srv", env=(("A", "1"),), nice=5, secrets=("hunter2",))

    assert told.name == plain.name
    assert Command(line=LINE + " ").name != plain.name
    assert Command(line=("ls",)).name != Command(line="ls").name


def test_a_name_that_is_given_counts(legion: Legion) -> None:
    legion.command(LINE).name("nightly-backup").daily()

    job = only(legion)
    assert job.name == "nightly-backup"
    assert job.args == ("nightly-backup",)
    assert job.options["shadow"] == "nightly-backup"


def test_how_it_is_executed_is_said_in_words(legion: Legion, tmp_path: Path) -> None:
    builder = legion.command("true").hourly().cwd(tmp_path).env({"A": "1"}, B="2").env(B="3", C="4")
    builder.umask("027").nice(5).user("backup").timeout("1h30m").secret("A").secret("x", "y")

    assert command_of(only(legion)) == Command(
        line="true",
        cwd=str(tmp_path),
        env=(("A", "1"), ("B", "3"), ("C", "4")),
        umask=0o027,
        nice=5,
        user="backup",
        timeout=timedelta(minutes=90),
        secrets=("A", "x", "y"),
    )


def test_nothing_said_is_the_worker_s_own(legion: Legion) -> None:
    legion.command("true").hourly()

    assert command_of(only(legion)) == Command(line="true")


@pytest.mark.parametrize(("mask", "value"), [("027", 0o27), ("0", 0), ("777", 0o777), ("0o22", 0o22)])
def test_a_umask_is_octal_digits(legion: Legion, mask: Any, value: int) -> None:
    legion.command("true").hourly().umask(mask)

    assert command_of(only(legion)).umask == value


@pytest.mark.parametrize("by", [-20, 0, 19])
def test_a_niceness_is_kept_up_to_its_bounds(legion: Legion, by: int) -> None:
    legion.command("true").hourly().nice(by)

    assert command_of(only(legion)).nice == by


def test_nice_alone_is_ten(legion: Legion) -> None:
    legion.command("true").hourly().nice()

    assert command_of(only(legion)).nice == 10


@pytest.mark.parametrize(
    ("say", "problem"),
    [
        (lambda job: job.umask("999"), "'999' is no umask"),
        (lambda job: job.umask("rw"), "'rw' is no umask"),
        (lambda job: job.umask(""), "'' is no umask"),
        (lambda job: job.umask(0o27), "23 is no umask; write its octal digits as text"),
        (lambda job: job.umask(-1), "-1 is no umask"),
        (lambda job: job.umask(True), "True is no umask"),
        (lambda job: job.umask(None), "None is no umask"),
        (lambda job: job.nice(20), "20 is no niceness"),
        (lambda job: job.nice(-21), "-21 is no niceness"),
        (lambda job: job.nice("5"), "'5' is no niceness"),
        (lambda job: job.nice(True), "True is no niceness"),
        (lambda job: job.user(""), "'' is no user's name"),
        (lambda job: job.user(0), "0 is no user's name"),
        (lambda job: job.timeout("soon"), "'soon' is no duration"),
        (lambda job: job.timeout(0), "0 is no positive duration"),
        (lambda job: job.timeout(None), "None is no duration"),
        (lambda job: job.env({"": "1"}), "'' is no environment variable"),
        (lambda job: job.env({"A=B": "1"}), "'A=B' is no environment variable"),
        (lambda job: job.env({1: "1"}), "1 is no environment variable"),
        (lambda job: job.env({"A\0": "1"}), r"'A\x00' is no environment variable"),
        (lambda job: job.env({"A\nB": "1", "C=": "2"}), "'C=' is no environment variable"),
        (lambda job: job.env(A="hunter2\0"), "'A' is no environment variable"),
        (lambda job: job.secret(""), "a secret is text"),
        (lambda job: job.secret("hunter2", 5), "a secret is text"),
    ],
)
def test_a_word_that_cannot_work_is_said_in_one_line_when_the_schedule_is_read(
    legion: Legion, say: Any, problem: str
) -> None:
    say(legion.command(LINE).hourly())

    text = refusal(legion)
    assert problem in text
    assert "test_command_builder.py:" in text
    assert "\n" not in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "say",
    [
        lambda job: job.cwd(5),
        lambda job: job.cwd(""),
        lambda job: job.cwd("a\0b"),
        lambda job: job.cwd(b"/srv"),
        lambda job: job.user("a\0b"),
        lambda job: job.env(5),
        lambda job: job.env(["A=1"]),
    ],
    ids=["cwd number", "cwd empty", "cwd NUL", "cwd bytes", "user NUL", "env number", "env list"],
)
def test_a_value_of_another_kind_never_keeps_a_process_from_importing(legion: Legion, say: Any) -> None:
    say(legion.command("true").hourly())

    text = refusal(legion)
    assert "test_command_builder.py:" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "given",
    ["", "  ", "\n", [], [""], ["", "x"], None, 5, b"ls", {"ls"}, ["ls", 5], ["ls", None], "ls\0", ["ls", "\0"]],
)
def test_what_cannot_be_executed_is_said_in_one_line_when_the_schedule_is_read(legion: Legion, given: Any) -> None:
    legion.command(given).hourly()

    text = refusal(legion)
    assert "the command at" in text
    assert "test_command_builder.py:" in text
    assert "\n" not in text


@pytest.mark.parametrize("given", [[5, "ls"], [None], [b"ls"], 5])
def test_a_list_that_does_not_begin_with_text_is_refused_when_the_schedule_is_read(legion: Legion, given: Any) -> None:
    legion.command(given).hourly()

    assert "is no text and no list of them" in refusal(legion)


def test_a_list_may_hold_paths(legion: Legion) -> None:
    legion.command([Path("/bin/ls"), "-l"]).name("ls").hourly()

    action = legion.jobs["ls"].action
    assert action.command is not None
    assert action.command.argv == ["/bin/ls", "-l"]


def test_the_first_error_is_the_one_that_is_told(legion: Legion) -> None:
    legion.command("true").nice(99).umask("x").hourly()

    assert "niceness" in refusal(legion)


def test_a_worker_hears_of_a_wrong_command_in_its_log(legion: Legion, caplog: pytest.LogCaptureFixture) -> None:
    legion.command(LINE).hourly().nice(99)
    legion.context.registry.register_tasks()

    assert "99 is no niceness" in caplog.text
    assert "hunter2" not in caplog.text


def test_the_words_of_every_builder_hold_for_commands_too(legion: Legion) -> None:
    builder = legion.command("true").daily_at("2:00").queue("slow").tags("night").description("dump")
    builder.options(priority=3).lock_name("db").start_deadline("10m")

    job = only(legion)
    assert (job.queue, job.tags, job.description, job.lock) == ("slow", ("night",), "dump", "db")
    assert dict(job.options) == {"shadow": job.name, "priority": 3}
    assert job.policy.start_deadline == timedelta(minutes=10)


def test_a_shadow_of_the_user_s_own_is_kept(legion: Legion) -> None:
    legion.command("true").hourly().options(shadow="mine")

    assert only(legion).options["shadow"] == "mine"


def test_two_commands_of_one_line_need_names(legion: Legion) -> None:
    legion.command("true").hourly()
    legion.command("true").daily()

    with pytest.raises(DuplicateJobError):
        legion.jobs


@pytest.mark.parametrize(
    "tell",
    [
        lambda job, host: job.env(HOST=host),
        lambda job, host: job.cwd(f"/srv/{host}"),
        lambda job, host: job.user(host),
    ],
    ids=["env", "cwd", "user"],
)
def test_commands_of_one_place_that_differ_in_how_they_are_executed_are_not_taken_for_one(
    legion: Legion, tell: Any
) -> None:
    for host in ("alpha", "beta"):
        tell(legion.command("backup").hourly(), host)

    with pytest.raises(DuplicateJobError):
        legion.jobs


def test_commands_of_one_place_and_name_that_differ_in_a_secret_are_not_taken_for_one(legion: Legion) -> None:
    for token in ("one", "two"):
        legion.command(f"send {token}").secret(token).name("send").hourly()

    with pytest.raises(DuplicateJobError):
        legion.jobs
