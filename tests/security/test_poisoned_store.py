"""Whatever lies in the store is data: refused or reported where it cannot be read, and the other jobs run on."""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import resource
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from celery.bin.base import CLIContext
from click.testing import CliRunner

from celery_legion import Legion
from celery_legion.cli import COMMANDS
from celery_legion.engine import Dispatch, Engine

KEY = "{legion:poisoned}:"
MINUTE = 60_000
FAR = 9e15
MEMORY = 400 * 1024 * 1024
"""Most that the whole of a test may add to this process's peak: ten times the largest value."""


class Canary:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def poisons(canary: Path) -> dict[str, str | bytes]:
    command = f"touch {canary}"
    return {
        "pickle": pickle.dumps(Canary(canary)),
        "pickle-0": pickle.dumps(Canary(canary), protocol=0),
        "type": json.dumps({"__type__": "os.system", "__value__": command}),
        "class": json.dumps({"py/reduce": [{"py/type": "os.system"}, {"py/tuple": [command]}]}),
        "exception": json.dumps({"exc_type": "system", "exc_module": "os", "exc_message": [command]}),
        "path": "os:system",
        "yaml": f"!!python/object/apply:os.system ['{command}']",
        "deep": "[" * 10_000 + "]" * 10_000,
        "deep-object": '{"v":' * 10_000 + "1" + "}" * 10_000,
        "nan": '{"v": NaN, "since": NaN, "at": Infinity, "fire": -Infinity}',
        "huge-number": "9" * 5_000,
        "megabytes": "x" * 10_000_000,
        "ranges": json.dumps(
            {"v": 1, "trigger": ",".join(f"{n % 30}-{n % 30 + 29}" for n in range(2_000)) + " * * * *"}
        ),
        "zone": json.dumps({"v": 1, "trigger": "* * * * *", "timezone": "Mars/Olympus"}),
        "interval": json.dumps({"v": 1, "every": 0}),
        "negative": "-1",
        "object": "{}",
        "list": "[1]",
        "null": "null",
        "empty": "",
        "bytes": b"\xff\xfe\xed\xa0\x80\x00",
        "pipes": "|||||",
    }


class Stage:
    """A schedule of a victim for each poison, and one more job; its passes, and its command line."""

    def __init__(self, url: str, names: list[str]) -> None:
        self.client = redis.Redis.from_url(url)
        self.client.flushall()
        self.app = Celery("poisoned", broker=url, set_as_current=False)
        legion = Legion(self.app)
        self.context = legion.context
        for name in (*names, "other"):
            legion.task("t").every_second().allow_overlapping().name(name)
        self.sent: list[str] = []
        self.lead([])
        self.lead([*names, "other"])
        assert set(self.sent) == {*names, "other"}

    def send(self, dispatch: Dispatch, producer: object) -> None:
        self.sent.append(dispatch.job)
        dispatch.accepted = True

    def lead(self, due: Sequence[str]) -> None:
        """Have another scheduler lead: it reads everything anew, and finds that a minute's fires of *due* are due."""
        self.client.delete(self.key("lead"))
        for job in due:
            fire, bar, rest = self.client.hget(self.key("marks"), job).partition(b"|")
            self.client.hset(self.key("marks"), job, str(int(fire) - MINUTE).encode() + bar + rest)
        Engine(self.context, self.send).tick()

    def key(self, name: str) -> str:
        return KEY + name

    def run_of(self, job: str) -> str:
        found = self.client.lindex(self.key(f"ledger:{job}"), 0)
        return self.key(f"run:{found.decode()}")

    def call(self, name: str, *args: str) -> Any:
        context = CLIContext(app=self.app, no_color=True, workdir=None)
        return CliRunner().invoke(import_module(COMMANDS[name]).command, list(args), obj=context)

    def close(self) -> None:
        self.context.store.close()
        self.client.close()
        self.app.close()


Put = Callable[[Stage, str, str | bytes], object]


def field(hash_: str) -> Put:
    return lambda stage, job, value: stage.client.hset(stage.key(hash_), job, value)


def run(name: str) -> Put:
    return lambda stage, job, value: stage.client.hset(stage.run_of(job), name, value)


def head(list_: str) -> Put:
    return lambda stage, job, value: stage.client.lpush(stage.key(list_.format(job)), value)


def member(index: str) -> Put:
    return lambda stage, job, value: stage.client.zadd(stage.key(index.format(job)), {value: FAR})


def registered(kind: str) -> Put:
    def put(stage: Stage, job: str, value: str | bytes) -> None:
        stage.client.zadd(stage.key(f"{kind}s"), {job: FAR})
        stage.client.hset(stage.key(kind), job, value)

    return put


def debt(stage: Stage, job: str, value: str | bytes) -> None:
    stage.client.zadd(stage.key("owed"), {job: 1})
    rest = {"sends": 0, "since": FAR, "by": "", "till": 0, "takes": 0}
    stage.client.hset(stage.key(f"debt:{job}"), mapping={"job": job, "record": value, **rest})


def counter(stage: Stage, job: str, value: str | bytes) -> None:
    """Each in its turn, with a pass: there is one of each in the store."""
    for name in ("version", "heard", "epoch", "token", "output_bytes", "pushes"):
        stage.client.set(stage.key(name), value)
    stage.lead([])


def held(stage: Stage, job: str, value: str | bytes) -> None:
    stage.client.sadd(stage.key("locks"), job, value)
    stage.client.zadd(stage.key(f"lock:{job}"), {value: FAR})


def unsent(stage: Stage, job: str, value: str | bytes) -> None:
    key = stage.run_of(job)
    stage.client.hset(key, mapping={"state": "claimed", "msg": value})
    stage.client.zadd(stage.key("unsent"), {key.removeprefix(stage.key("run:")): 1})


def lost(name: str) -> Put:
    def put(stage: Stage, job: str, value: str | bytes) -> None:
        key = stage.run_of(job)
        stage.client.hset(key, mapping={"state": "running", "token": 1, "lease": 1, name: value})
        stage.client.zadd(stage.key("live"), {key.removeprefix(stage.key("run:")): 1})

    return put


def of_wrong_type(name: str) -> Put:
    def put(stage: Stage, job: str, value: str | bytes) -> None:
        kind = stage.client.type(stage.key(name))
        stage.client.delete(stage.key(name))
        if kind == b"string":
            stage.client.lpush(stage.key(name), value)
        else:
            stage.client.set(stage.key(name), value)

    return put


PLACES: dict[str, Put] = {
    "definition": field("jobs"),
    "pause": field("pauses"),
    "mark": field("marks"),
    "sight": field("sights"),
    "success": field("wins"),
    "failure": field("failures"),
    "scheduler": registered("scheduler"),
    "worker": registered("worker"),
    "ledger": head("ledger:{}"),
    "aside": head("aside"),
    "inbox": head("inbox"),
    "recent": member("recent"),
    "ended": member("ended"),
    "queued": member("queued"),
    "live": member("live"),
    "changed": member("changed"),
    "debt": debt,
    "lock": held,
    "message": unsent,
    "counter": counter,
    **{
        f"run's {name}": run(name) for name in ("fire", "kind", "state", "attempt", "claimed", "output", "exit", "lock")
    },
    **{f"lost run's {name}": lost(name) for name in ("kind", "lock", "owes", "output")},
}


@pytest.mark.parametrize("place", PLACES)
def test_what_cannot_be_read_is_refused_and_the_others_run_on(place: str, redis_url: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    values = poisons(canary)
    stage = Stage(redis_url, list(values))
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logger = logging.getLogger("celery_legion")
    logger.addHandler(handler)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        for name, value in values.items():
            PLACES[place](stage, name, value)
        stage.sent.clear()
        stage.lead(["other"])
        stage.lead(["other"])
        problems = (
            [] if stage.sent.count("other") == 2 else [f"the other job was sent {stage.sent.count('other')} times"]
        )
        problems += [line for line in log.getvalue().splitlines() if line.startswith("Traceback")]
        if len(log.getvalue()) > 100_000:
            problems.append(f"the log has {len(log.getvalue())} characters")
        calls = [
            ("list",),
            ("list", "--json"),
            ("history",),
            ("history", "--json"),
            ("locks",),
            ("inbox",),
            ("show", "other"),
        ]
        for call in (*calls, ("show", "pickle"), ("logs", "deep")):
            done = stage.call(*call)
            if done.exception is not None and not isinstance(done.exception, SystemExit):
                problems.append(f"{' '.join(call)}: {type(done.exception).__name__} {done.exception}"[:150])
            elif done.exit_code not in (0, 3, 4) or (done.exit_code and done.output.count("\n") > 1):
                problems.append(f"{' '.join(call)}: exit {done.exit_code}, {done.output[:150]}")
        assert not canary.exists()
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY
    finally:
        logger.removeHandler(handler)
        stage.client.flushall()
        stage.close()
    assert problems == []
