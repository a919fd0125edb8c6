"""Runs by hand: tried, pushed, sent by tag, and followed, on real workers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import redis

from celery_legion.run import Record
from celery_legion.stores import open_store
from celery_legion.stores.base import Pause, Store, StoreOptions
from tests.acceptance.conftest import Shop
from tests.acceptance.schemas import INBOX, PUSHED, RECORD
from tests.servers.polling import eventually
from tests.servers.processes import ROOT

pytestmark = pytest.mark.e2e

SECRET = "correct-horse-battery-staple"
PREFIX = "legion:steered"
PRINTED = "hello ß 日本 from the task\n"


class Stream:
    """A command that goes on, with what it writes and the seconds after which each line came."""

    def __init__(self, shop: Shop, *args: str) -> None:
        self.lines: list[tuple[float, str]] = []
        self.errors: list[str] = []
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", shop.module, "legion", *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **shop.env},
            cwd=ROOT,
        )
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read_out, self._read_err)]
        for reader in self._readers:
            reader.start()

    def _read_out(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append((time.monotonic() - self._began, line))

    def _read_err(self) -> None:
        assert self._process.stderr is not None
        self.errors.extend(self._process.stderr)

    @property
    def output(self) -> str:
        return "".join(line for _, line in self.lines)

    @property
    def error(self) -> str:
        return "".join(self.errors)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def wait(self, deadline: float = 30.0) -> int:
        code = self._process.wait(deadline)
        for reader in self._readers:
            reader.join(5)
        return code

    def end(self) -> None:
        self._process.kill()
        self._process.wait(10)


class Steered(Shop):
    """The app of jobs that are never due; what goes on is ended with the test."""

    store: Store
    streams: list[Stream]
    enough: Path

    def stream(self, *args: str) -> Stream:
        self.streams.append(Stream(self, *args))
        return self.streams[-1]

    def noted(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.ledger.lines() if line["event"] == event]

    def last(self, job: str) -> Record:
        return self.store.runs(job, 1)[0]


@pytest.fixture
def shop(make_shop: Callable[..., Shop], redis_url: str, tmp_path: Path) -> Iterator[Steered]:
    enough = tmp_path / "enough"
    plain = make_shop(redis_url, redis_url, "", LEGION_TEST_ENOUGH=str(enough))
    made = Steered(plain.processes, plain.env, plain.ledger, "tests.acceptance.steered")
    made.store = open_store(StoreOptions(url=redis_url, prefix=PREFIX))
    made.streams, made.enough = [], enough
    yield made
    for stream in made.streams:
        stream.end()
    made.store.close()


def test_a_job_that_is_tried_shows_what_it_prints_and_ends_as_it_ended(shop: Steered) -> None:
    shop.worker()

    failing, unknown = shop.stream("test", "failing"), shop.stream("test", "gret")
    greeted = shop.command("test", "greet")
    assert (greeted.returncode, greeted.stdout) == (0, PRINTED), greeted.stderr
    sent, ended = greeted.stderr.splitlines()
    assert re.fullmatch(r"run [0-9a-f-]{36} of greet is sent to the workers", sent)
    assert ended.startswith("succeeded after ")

    quiet = shop.command("run", "--tag", "due")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", ""), "cron would mail it"
    assert (unknown.wait(), unknown.output) == (4, "")
    assert "did you mean 'greet'?" in unknown.error
    assert len(unknown.errors) == 1

    assert failing.wait() == 7
    assert failing.output == "first\nsecond\n"
    # What it says comes while it runs: between the two lines it sleeps for two seconds.
    (first, _), (second, _) = failing.lines
    assert second - first > 1.0
    assert re.search(r"failed after .*, exit code 7", failing.error)

    done = shop.command("test", "greet", "--json")
    record = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert (record["job"], record["kind"], record["state"]) == ("greet", "manual", "succeeded")
    assert record["output"] == PRINTED
    # Twice by hand, and what was due.
    eventually(lambda: len(shop.noted("ran")) == 3, 20, "three runs of it")
    # The schedule has not moved: nothing has ever been accounted for.
    assert {state.mark for state in shop.store.states(["greet", "failing"]).values()} == {None}


def test_a_job_whose_lock_is_held_is_tried_by_force_alone(shop: Steered) -> None:
    shop.worker()
    talking = shop.stream("test", "talk")
    eventually(lambda: talking.output, 20, "its first line")

    forced = shop.stream("test", "talk", "--force")
    held = shop.command("test", "talk")
    assert (held.returncode, held.stdout) == (8, "")
    running = next(one for one in shop.store.runs("talk", 10) if one.id is not None and one.id in talking.error)
    line = held.stderr.splitlines()[-1]
    assert f"run {running.id} of talk is running on {running.worker} and holds its lock" in line
    assert line.endswith("--force runs it all the same")

    eventually(lambda: forced.output, 20, "its first line, too")
    assert talking.alive
    talking.interrupt()
    assert talking.wait() == 130
    assert f"run {running.id} of talk ended: interrupted (terminated)" in talking.error
    shop.enough.touch()
    assert forced.wait() == 0
    assert forced.output.endswith("that is all\n")
    ends = {(one.state.value, one.reason) for one in shop.store.runs("talk", 10) if one.id is not None}
    assert ends == {("interrupted", "terminated"), ("succeeded", None)}
    # What it had printed until then is kept.
    kept = shop.store.get(running.id or "")
    assert kept is not None and (kept.output or "").startswith("line 0\nline 1\n")


def test_a_job_that_no_worker_runs_is_explained_and_taken_back(shop: Steered) -> None:
    stream = shop.stream("test", "greet")
    eventually(lambda: "it has not begun yet: no worker with Legion(app) is running" in stream.error, 20, "why")
    assert "Ctrl-C takes it back" in stream.error
    stream.interrupt()
    assert stream.wait() == 130
    assert (shop.last("greet").state.value, shop.last("greet").reason) == ("interrupted", "revoked")
    assert shop.store.locks() == []


def test_pushes_wait_for_a_scheduler_and_say_what_became_of_them(shop: Steered, redis_url: str) -> None:
    waits = shop.stream("push", "restock")
    shop.worker()
    assert waits.wait() == 0, waits.error
    assert re.fullmatch(r"run [0-9a-f-]{36} of restock waits in the inbox: no scheduler is running\n", waits.output)
    read = shop.read("inbox")
    jsonschema.validate(read, INBOX)
    [waiting] = read["waiting"]
    assert json.loads(waiting["body"]) == {"job": "restock"}
    assert waiting["id"] in waits.output
    sent = shop.command("run", "--json")
    assert sent.returncode == 0, sent.stderr
    assert shop.store.requests(10) == []
    eventually(lambda: shop.noted("restock"), 20, "the pushed run")
    assert shop.noted("restock") == [{"event": "restock", "args": [1], "kwargs": {"shelf": "top", "owner": "me"}}]

    shop.beat().wait_for("leads with epoch")
    given = ("--arg", "40", "--arg", "[1, null]", "--arg", "NaN", "--kwarg", "shelf=milk", "--kwarg", 'n="5"')
    refused = shop.stream("push", "failing", "--arg", "5")
    done = shop.command("push", "restock", *given, "--json")
    jsonschema.validate(json.loads(done.stdout), PUSHED)
    jsonschema.validate(shop.read("logs", json.loads(done.stdout)["id"]), RECORD)
    pushed = json.loads(done.stdout)
    assert (done.returncode, pushed["put_aside"]) == (0, None), done.stderr
    assert (pushed["record"]["id"], pushed["record"]["kind"]) == (pushed["id"], "pushed")
    eventually(lambda: len(shop.noted("restock")) == 2, 20, "its run")
    assert shop.noted("restock")[1] == {
        "event": "restock",
        "args": [40, [1, None], "NaN"],
        "kwargs": {"shelf": "milk", "owner": "me", "n": "5"},
    }
    assert (refused.wait(), refused.output) == (2, "")
    assert "is a command, and takes no arguments" in refused.error

    # As any program in any language pushes: a line to the list, and a nudge.
    client = redis.Redis.from_url(redis_url)
    bodies = [
        '{"job": "restock", "args": ["raw"], "id": "order-17"}',
        '{"job": "restok"}',
        "{oops",
        '{"job":"a","at":1}',
    ]
    for body in bodies:
        client.lpush(f"{{{PREFIX}}}:inbox", body)
    client.publish(f"{{{PREFIX}}}:wake", "push")
    eventually(lambda: len(shop.noted("restock")) == 3, 20, "the raw push's run")
    assert shop.noted("restock")[2]["args"] == ["raw"]
    eventually(lambda: client.llen(f"{{{PREFIX}}}:inbox") == 0, 10, "an empty inbox")
    found = shop.read("inbox")
    jsonschema.validate(found, INBOX)
    assert found["waiting"] == []
    assert [one["body"] for one in found["put_aside"]] == bodies[:0:-1]
    at, oops, restok = (one["why"] for one in found["put_aside"])
    assert "'at' is no part of a push" in at
    assert oops.startswith("it is no JSON")
    assert restok.startswith("no job is named 'restok'")
    assert {record.id for record in shop.store.runs("restock", 10)} == {"order-17", pushed["id"], waiting["id"]}


def test_only_jobs_with_a_tag_are_sent_and_by_force_whatever_the_clock_says(shop: Steered) -> None:
    unknown = shop.stream("run", "--tag", "quik")
    due = shop.command("run", "--tag", "due", "--verbose")
    assert (due.returncode, due.stdout) == (0, "1 run sent\n"), due.stderr
    assert {record.job for record in shop.store.runs(None, 10)} == {"minutely"}
    assert (unknown.wait(), unknown.output) == (4, "")
    assert "no job has the tag 'quik' (did you mean 'quick'?)" in unknown.error

    forced = shop.command("run", "--force", "--tag", "quick", "--json")
    assert forced.returncode == 0, forced.stderr
    assert json.loads(forced.stdout) == {"sent": 2, "refused": {}}
    records = [record for record in shop.store.runs(None, 10) if record.job != "minutely"]
    assert sorted((record.job, record.kind.value, record.state.value) for record in records) == [
        ("greet", "manual", "sent"),
        ("restock", "manual", "sent"),
    ]

    shop.store.pause(Pause(name="greet", since=datetime.now(UTC)))
    again = shop.command("run", "--force", "--tag", "quick")
    assert (again.returncode, again.stdout) == (0, "")
    told = again.stderr.splitlines()
    assert "greet is not run: paused" in told
    [restock] = [record.id for record in records if record.job == "restock"]
    [why] = [line for line in told if line.startswith("restock is not run: ")]
    assert f"run {restock} " in why


def test_what_a_run_prints_can_be_followed_and_outlives_its_worker(shop: Steered) -> None:
    beat = shop.beat()
    worker = shop.worker()
    tried = shop.stream("test", "secretive")
    eventually(lambda: tried.output, 20, "its first line")
    followed = shop.stream("logs", "secretive", "--follow")
    assert shop.command("push", "talk").returncode == 0
    talking = shop.stream("logs", "talk", "-f")
    assert (tried.wait(), followed.wait()) == (0, 0)
    printed = "".join(f"{number} token=***\n" for number in (1, 2, 3, 4))
    assert (tried.output, followed.output) == (printed, printed)
    assert tried.lines[-1][0] - tried.lines[0][0] > 0.5
    record = shop.last("secretive")
    assert record.id is not None
    assert followed.error.endswith(f"run {record.id} of secretive is over: succeeded\n")
    assert SECRET not in tried.error + followed.error + worker.output + (record.output or "")
    logs = shop.command("logs", record.id[:8])
    assert (logs.returncode, logs.stdout, logs.stderr) == (0, printed, "")

    eventually(lambda: "line 5\n" in talking.output, 20, "some lines")
    assert talking.output.startswith("line 0\nline 1\n")
    seen = talking.output
    so_far = shop.command("logs", "talk")
    assert so_far.stdout.startswith(seen)
    assert so_far.stderr.endswith("goes on; --follow shows what comes\n")

    worker.kill_group()
    # Who leads finds that its lease is over, and following ends with it.
    assert talking.wait(40) == 0
    assert " of talk is over: lost" in talking.error
    assert talking.output.startswith(so_far.stdout)
    assert shop.command("logs", "talk").stdout == talking.output
    assert beat.alive


def test_a_run_that_cannot_be_ended_is_said_to_go_on(shop: Steered) -> None:
    shop.worker("--pool", "threads")
    stream = shop.stream("test", "talk")
    eventually(lambda: "line 2\n" in stream.output, 20, "some lines")
    stream.interrupt()
    assert stream.wait() == 130
    assert shop.last("talk").state.value == "running"
    # As `interrupt` says it: that it goes on, and why.
    assert "goes on" in stream.errors[-1]
    assert "thread pool" in stream.errors[-1]
    shop.enough.touch()
    eventually(lambda: shop.last("talk").state.value == "succeeded", 20, "its end")
