"""Nothing that can be written to broker, inbox or store is executed: neither as a command nor as Python."""

from __future__ import annotations

import base64
import json
import os
import pickle
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis

from celery_legion.command import TASK
from celery_legion.hook import TASK as HOOKS
from celery_legion.run import Kind, State
from celery_legion.stores.base import Claim, Granted
from tests.servers.polling import eventually
from tests.servers.processes import Process
from tests.worker.trial import PREFIX, Trial

pytestmark = pytest.mark.e2e

KEY = f"{{{PREFIX}}}:"


class Touch:
    """Unpickled, it leaves the canary behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


class Attacker:
    """Whoever may write to the broker and to the store, and wants *canary* to appear."""

    def __init__(self, trial: Trial, canary: Path) -> None:
        self.trial = trial
        self.line = f"touch {canary}"
        self.pickled = pickle.dumps(Touch(canary))
        self.broker = redis.Redis.from_url(trial.env["TRIAL_BROKER"])
        self.store = redis.Redis.from_url(trial.store_url)
        self.sent: list[str] = []

    def close(self) -> None:
        self.broker.close()
        self.store.close()

    def claimed(self, job: str, message: dict[str, Any]) -> str:
        """Claim a run whose kept message is forged; the next leader sends that again."""
        fire = datetime.now(UTC) - timedelta(seconds=5)
        run = str(uuid4())
        claim = Claim(job=job, fire_time=fire, mark=None, run_id=run, lock=f"forged {run}", message=json.dumps(message))
        [verdict] = self.trial.store.claim([claim], "forger", None, timedelta(seconds=10))
        assert verdict.granted is Granted.RUN
        return run

    def push(self, body: bytes | str | dict[str, Any]) -> None:
        """Put something into the inbox, as any program may."""
        self.store.lpush(f"{KEY}inbox", json.dumps(body) if isinstance(body, dict) else body)

    def send(self, *args: Any, task: str = TASK, headers: Any = None, **options: Any) -> None:
        run = str(uuid4())
        self.sent.append(run)
        self.trial.client.send_task(task, args=list(args), task_id=run, headers=headers or {}, **options)

    def send_raw(self, body: bytes, content_type: str, task: str = TASK, queue: str = "celery") -> None:
        """Put a message with a body of any kind into the broker's list."""
        run = str(uuid4())
        self.broker.lpush(
            queue,
            json.dumps(
                {
                    "body": base64.b64encode(body).decode(),
                    "content-encoding": "binary" if "python" in content_type else "utf-8",
                    "content-type": content_type,
                    "headers": {"lang": "py", "task": task, "id": run, "root_id": run, "argsrepr": self.line},
                    "properties": {
                        "correlation_id": run,
                        "delivery_mode": 2,
                        "delivery_info": {"exchange": "", "routing_key": queue},
                        "body_encoding": "base64",
                        "delivery_tag": run,
                    },
                }
            ),
        )


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    folder = tmp_path / "traces"
    folder.mkdir()
    return folder


@pytest.fixture
def trial(new_trial: Callable[..., Trial], traces: Path) -> Trial:
    return new_trial(
        hooks=True,
        commands={name: {"line": f"touch {traces}/{name}"} for name in ("one", "two")},
    )


def test_no_command_text_of_broker_inbox_or_store_is_executed(trial: Trial, traces: Path) -> None:
    attacker = Attacker(trial, traces / "canary")
    line, argv = attacker.line, ["/bin/sh", "-c", attacker.line]
    message = {"v": 1, "task": TASK, "args": [line], "kwargs": {}, "options": {"shadow": line}}
    runs = [
        attacker.claimed("one", message),
        attacker.claimed("one", {**message, "args": ["two"]}),
        attacker.claimed("one", {**message, "args": ["one"], "kwargs": {"line": line, "command": argv}}),
        attacker.claimed(line, {**message, "args": [line]}),
        attacker.claimed("talkative", {**message, "args": ["talkative"]}),
    ]
    # One that cannot be read is made anew from the job, as the code has it.
    remade = attacker.claimed("one", {**message, "args": [{"__type__": "os.system", "__value__": line}]})
    for name in ("one", "planted", line):
        definition = {"v": 1, "name": name, "action": {"kind": "command", "line": line}, "trigger": "* * * * * *"}
        trial.store.put(name, json.dumps(definition))
    worker, beat = trial.worker("-c", "2"), trial.beat()

    for body in (
        {"job": "one", "args": [line]},
        {"job": "one", "args": argv},
        {"job": "one", "kwargs": {"line": line}},
        {"job": "one", "line": line},
        {"job": "one", "command": line},
        {"job": "one", "action": {"kind": "command", "line": line}},
        {"job": "planted"},
        {"job": line},
        {"job": TASK, "args": [line]},
        {"job": "one", "id": line},
        {"job": {"name": "one", "line": line}},
        attacker.pickled,
        f"{line}\x1f" + json.dumps({"job": "one", "args": [line]}),
    ):
        attacker.push(body)
    refused = 13
    # A task takes arguments; what they say stays text.
    attacker.push({"job": "talkative", "args": [f"$({line}) `{line}`; {line}"]})
    header = {"v": 1, "job": "one", "fire": 1, "kind": "pushed", "lock": "one", "limit": 1, "ttl": 1000}
    for forged in (header, {**header, "job": line, "lock": line}, {**header, "line": line, "command": argv}):
        attacker.send(line, headers={"legion": forged})
        attacker.send("one", headers={"legion": forged}, kwargs={"line": line})
        attacker.send("one", headers={"legion": forged, "shadow": line, "argsrepr": line, "kwargsrepr": line})
    attacker.send(argv, headers={"legion": {**header, "token": 1, "attempt": 1}})
    attacker.send("one", link=[trial.client.signature(TASK, args=(line,), immutable=True)])
    hooks = len(attacker.sent)
    attacker.send(line, "one", task=HOOKS)
    attacker.send(f"{runs[0]}:0", line, task=HOOKS)

    for run in attacker.sent[:hooks]:
        ends = (f"[{run}] is not executed", f"[{run}] raised expected: CommandRefusedError")
        eventually(partial(_any_of, ends, worker), 20, f"{run} is refused:\n{worker.output[-3000:]}")
    eventually(lambda: len(trial.store.asides(100)) == refused, 20, f"pushes are put aside\n{beat.output[-3000:]}")
    said = eventually(
        lambda: [one for one in trial.store.runs("talkative", 9) if one.kind is Kind.PUSHED], 20, "a push"
    )
    assert trial.ended(said[0].id or "").state is State.SUCCEEDED
    # All of that has come before this one, and none of it keeps the schedule's own command from running.
    real = trial.command("two")
    assert trial.ended(real).state is State.SUCCEEDED
    for run in runs:
        assert trial.record(run).state is not State.SUCCEEDED, trial.record(run)
    assert trial.ended(remade).state is State.SUCCEEDED
    assert {path.name for path in traces.iterdir()} == {"one", "two"}
    assert "Traceback" not in beat.output
    attacker.close()


def test_nothing_that_is_pickled_or_yaml_is_read(trial: Trial, traces: Path) -> None:
    attacker = Attacker(trial, traces / "canary")
    worker, beat = trial.worker("-c", "1"), trial.beat()
    yaml = f"!!python/object/apply:os.system ['{attacker.line}']".encode()
    for task in (TASK, HOOKS, "tests.worker.app.plain"):
        attacker.send_raw(attacker.pickled, "application/x-python-serialize", task)
        attacker.send_raw(yaml, "application/x-yaml", task)
    # Remote control is another way into the worker.
    attacker.send_raw(attacker.pickled, "application/x-python-serialize", queue="w0@trial.celery.pidbox")
    for place in ("inbox", "aside", "ledger:one", "ledger:talkative"):
        attacker.store.lpush(f"{KEY}{place}", attacker.pickled)
    for place in ("jobs", "wins", "sights", "failures"):
        for name in ("one", "talkative", "planted"):
            attacker.store.hset(f"{KEY}{place}", name, attacker.pickled)
    attacker.store.publish(f"{KEY}wake", attacker.pickled)

    eventually(lambda: worker.output.count("ContentDisallowed") >= 6, 20, f"refused:\n{worker.output[-3000:]}")
    eventually(lambda: attacker.store.llen(f"{KEY}inbox") == 0, 20, "the inbox is read")
    real = trial.command("two")
    assert trial.ended(real).state is State.SUCCEEDED
    assert {path.name for path in traces.iterdir()} == {"two"}
    assert beat.alive and worker.alive
    attacker.close()


def _any_of(words: Sequence[str], process: Process) -> bool:
    return any(one in process.output for one in words)
