"""Text of others (names, output, errors, pushes, notes) steers no terminal, breaks no JSON and forges no line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.bin.base import CLIContext
from celery.schedules import crontab
from click.testing import CliRunner, Result

from celery_legion import Legion
from celery_legion.cli import COMMANDS
from celery_legion.run import State
from celery_legion.stores.base import Claim, Outcome, Request, SchedulerInfo, Ticket, WorkerInfo

SECOND = timedelta(seconds=1)
HOSTILE = {
    "escapes": "a\x1b[2J\x1b]0;title\x07\x1b]52;c;ZXZpbA==\x1b\\\x1bP+q\x1b\\",
    "c1": "a\x9b2Jb\x9d0;title\x9cc\x90d\x85e",
    "lines": "a\r\nforged: all is well\n\x0b\x0c\u2028\u2029b",
    "order": "a\u202ecod.exe\u2066b\u200f\u061cc",
    "nul": "a\x00b\x08\x7fc",
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>&lt;",
    "markup": "[bold red]a[/] [link=http://evil.example]b[/link] :bomb: {x} %s %(y)s {0}",
    "surrogates": "a\ud800b\udfffc",
    "wide": "日本語🎉e\u0301" * 40,
}
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
COLOURS = re.compile(r"\x1b\[[\d;]*m|\x1b\]8;[^\x1b]*\x1b\\")


@dataclass
class Screen:
    """The command line, called in this process, on a terminal or not."""

    app: Any

    def call(self, name: str, *args: str, terminal: bool = False) -> Result:
        env = {"FORCE_COLOR": "1" if terminal else None, "COLUMNS": "80", "NO_COLOR": None}
        return CliRunner().invoke(
            import_module(COMMANDS[name]).command,
            list(args),
            obj=CLIContext(app=self.app, no_color=True, workdir=None),
            env=env,
        )


@pytest.fixture
def legion(redis_url: str) -> Iterator[Legion]:
    app = Celery("hostile", broker=redis_url, set_as_current=False)
    legion = Legion(app)
    yield legion
    legion.context.store.close()
    app.close()


def fill(legion: Legion, text: str) -> list[str]:
    """Put *text* everywhere where others' text may stand; returns the ids of the runs."""
    store, now = legion.context.store, datetime.now(UTC)
    # The builder refuses such a name; an entry of beat_schedule may carry it.
    entry = {"task": text, "schedule": crontab(), "kwargs": {"x": text}, "options": {"queue": text}}
    legion.app.conf.beat_schedule = {text: entry}
    legion.command(f"echo '{text}'".replace("\0", "")).env(X=text.replace("\0", "")).every_minute().name("command")
    store.pulse("scheduler", 60 * SECOND, 0, 0, SchedulerInfo(app="hostile", fingerprint=text, host=text, pid=1))
    store.register(WorkerInfo(name=text, queues=(text, "celery"), version=text, pid=1), 60 * SECOND)
    # Without an encoding of their own, a shell's bytes come as lone surrogates.
    assert Screen(legion.app).call("pause", text, "--note", text).exit_code == 0
    store.put(text, text)
    runs = []
    for number, ends in enumerate((True, True, False)):
        run = str(uuid4())
        fire = now - timedelta(minutes=9 - number)
        claim = Claim(job=text, fire_time=fire, mark=None, run_id=run, lock=text, limit=9, message=text, queue=text)
        store.claim([claim], text, None, 10 * SECOND)
        ticket = Ticket(
            id=run,
            job=text,
            fire_time=fire,
            kind=claim.kind,
            worker=text,
            retries=0,
            redelivered=False,
            late=False,
            lock=text,
            limit=9,
            lease=60 * SECOND,
            asker=text,
        )
        token = store.begin(ticket).token
        if ends:
            words = {"error": text, "output": f"{text}\n{text}", "hook_error": text, "reason": text}
            store.end(
                run, token, Outcome(state=State.FAILED, exit_code=1, **words), legion.context.store_options.retention
            )
        else:
            store.progress(run, token, text)
        runs.append(run)
    store.push(Request(id=str(uuid4()), body=text))
    store.push(Request(id="x", body=json.dumps({"job": text})))
    store.put_aside("x", text)
    return runs


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_command_that_reads_lets_it_through(legion: Legion, kind: str) -> None:
    text = HOSTILE[kind]
    *_, ended, open_ = fill(legion, text)
    screen = Screen(legion.app)
    calls = [
        ("list",),
        ("list", "--verbose"),
        ("show", text),
        ("show", "command"),
        ("history",),
        ("history", text),
        ("history", "--failed"),
        ("locks",),
        ("inbox",),
        ("logs", ended),
        ("logs", open_),
        ("logs", text),
    ]
    for call in calls:
        for terminal in (False, True):
            shown = screen.call(*call, terminal=terminal)
            assert shown.exit_code == 0, (call, shown.output, shown.exception)
            plain = COLOURS.sub("", shown.output) if terminal else shown.output
            assert not STEERS.findall(plain), (call, terminal, plain)
            # No link and no mark-up of others is taken for our own.
            assert "\x1b]8" not in shown.output
        if call != ("list", "--verbose"):
            data = screen.call(*call, "--json")
            assert data.exit_code == 0, (call, data.output, data.exception)
            assert not STEERS.findall(data.output), call
            json.loads(data.output)
    for unknown in (("show", f"x{text}"), ("logs", f"x{text}"), ("history", f"x{text}"), ("push", f"x{text}")):
        refused = screen.call(*unknown)
        assert refused.exit_code == 4, (unknown, refused.output, refused.exception)
        assert not STEERS.findall(refused.output), unknown
        assert refused.output.count("\n") == 1
