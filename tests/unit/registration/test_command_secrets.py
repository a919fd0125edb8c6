"""What is shown of a command, and what its messages say: never the line, never a secret."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery import Celery
from click.testing import CliRunner

from celery_legion import Legion
from celery_legion.cli.row import read_rows
from celery_legion.codec import decode, encode, evaluate
from celery_legion.command import TASK, Command
from celery_legion.engine.claims import Claims
from celery_legion.planner import Plan
from celery_legion.stores.base import Request
from celery_legion.stores.memory import MemoryStore
from tests.unit.registration.commands import LINE, NOW, command_of, only


class TestSecrets:
    """What is shown of a command."""

    def shown(self, legion: Legion, app: Celery) -> str:
        """All that people see of the one job."""
        legion.context.use_store(MemoryStore(now=lambda: NOW))
        job = only(legion)
        [row] = read_rows(legion.context, [job], NOW)
        lists = []
        for options in (["--json"], []):
            result = CliRunner().invoke(_list_command(), options, obj=_cli(app), env={"COLUMNS": "200"})
            assert result.exit_code == 0, result.output
            assert job.name in result.output
            lists.append(result.output)
        return "\n".join([repr(job), repr(command_of(job)), job.action.readable, json.dumps(row.dump()), *lists])

    def test_a_literal_is_masked(self, legion: Legion, app: Celery) -> None:
        legion.command(LINE).hourly().secret("hunter2")

        shown = self.shown(legion, app)
        assert "pg_dump --host db --password *** shop" in shown
        assert "hunter2" not in shown

    def test_the_value_of_the_command_s_own_variable_is_masked(self, legion: Legion, app: Celery) -> None:
        legion.command(["send", "--token", "hunter2"]).hourly().env(TOKEN="hunter2").secret("TOKEN")

        shown = self.shown(legion, app)
        assert "send --token '***'" in shown or "send --token ***" in shown
        assert "hunter2" not in shown

    def test_the_value_of_the_worker_s_variable_is_masked(
        self, legion: Legion, app: Celery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PGPASSWORD", "hunter2")
        legion.command(LINE).hourly().secret("PGPASSWORD")

        assert "hunter2" not in self.shown(legion, app)

    def test_the_command_s_own_variable_goes_before_the_worker_s(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TOKEN", "outer")
        command = Command(line="x inner outer", env=(("TOKEN", "inner"),), secrets=("TOKEN",))

        assert command.readable == "x *** outer"

    def test_the_environment_is_not_shown_at_all(self, legion: Legion, app: Celery) -> None:
        legion.command("send").hourly().env(TOKEN="hunter2")

        assert "hunter2" not in self.shown(legion, app)

    def test_one_secret_within_another_leaves_nothing_of_it(self) -> None:
        command = Command(line="x abcdef abc", secrets=("abc", "abcdef"))

        assert command.readable == "x *** ***"

    def test_an_empty_variable_masks_nothing(self) -> None:
        assert Command(line="x y", env=(("TOKEN", ""),), secrets=("TOKEN",)).readable == "x y"

    @pytest.mark.parametrize("secret", ["pa'ss", "a b", 'it\'s "quoted"'])
    def test_a_secret_that_must_be_quoted_is_masked_in_a_list(self, secret: str) -> None:
        shown = Command(line=("send", secret, "home"), secrets=(secret,)).readable

        assert shown.replace("'***'", "***") == "send *** home"


def test_the_message_and_the_header_say_nothing_of_the_command(legion: Legion, app: Celery) -> None:
    builder = legion.command(f"TOKEN=s3cret {LINE}").hourly().name("dump").env(PGPASSWORD="hunter3").cwd("/srv/private")
    builder.secret("hunter2", "PGPASSWORD").user("backup").after(lambda: None)
    job = only(legion)

    text = encode(evaluate(job, NOW))
    assert json.loads(text) == {
        "v": 1,
        "task": TASK,
        "args": ["dump"],
        "kwargs": {},
        "options": {"shadow": "dump"},
    }
    assert decode(text) == evaluate(job, NOW)

    claims = Claims(app, legion.context.config, True, legion.context.registry.hooks_of)
    [planned] = claims.of_plan(job, NOW, Plan(until=NOW, runs=(NOW,)), NOW)
    pushed = claims.of_push(Request(id="p", body='{"job": "dump"}'), legion.jobs, NOW)
    for asked in (planned, pushed):
        assert asked.dispatch is not None
        assert asked.dispatch.header is not None
        sent = " ".join([repr(asked.claim), repr(asked.dispatch.header.dump()), repr(asked.dispatch.options())])
        assert "dump" in sent
        for hidden in ("hunter2", "hunter3", "s3cret", "PGPASSWORD", "pg_dump", "private", "backup", "shop --"):
            assert hidden not in sent


def _list_command() -> Any:
    from celery_legion.cli.listing import command

    return command


def _cli(app: Celery) -> Any:
    from celery.bin.base import CLIContext

    return CLIContext(app=app, no_color=True, workdir=None)
