"""The app that is steered by hand: jobs that are never due, and say what they do."""

from __future__ import annotations

import json
import os
import time

from celery import Celery

from celery_legion import Legion

env = os.environ
SELDOM = "0 0 29 2 *"
SECRET = "correct-horse-battery-staple"

app = Celery("steered", broker=env["LEGION_TEST_BROKER"])
app.conf.update(
    legion_store_url=env["LEGION_TEST_STORE"],
    legion_leader_lease=5.0,
    legion_run_lease=3.0,
    legion_store_timeout=1.0,
    legion_broker_timeout=2.0,
    broker_connection_retry_on_startup=True,
)
legion = Legion(app)


def note(event: str, **fields: object) -> None:
    descriptor = os.open(env["LEGION_TEST_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, json.dumps({"event": event, **fields}).encode() + b"\n")
    finally:
        os.close(descriptor)


def greet() -> None:
    print("hello ß 日本 from the task")
    note("ran", job="greet")


def restock(*args: object, **kwargs: object) -> None:
    note("restock", args=args, kwargs=kwargs)


def talk() -> None:
    """Say something every tenth of a second, as long as the file of that name is there."""
    for number in range(600):
        print(f"line {number}")
        time.sleep(0.1)
        if os.path.exists(env["LEGION_TEST_ENOUGH"]):
            break
    print("that is all")


legion.call(greet).cron(SELDOM).name("greet").tags("quick")
legion.call(restock, 1, shelf="top", owner="me").cron(SELDOM).name("restock").tags("quick", "stock")
legion.call(talk).cron(SELDOM).name("talk").capture_output()
legion.command("echo first; sleep 2; echo second >&2; exit 7").cron(SELDOM).name("failing")
legion.command("for i in 1 2 3 4; do echo $i token=$TOKEN; sleep 0.4; done").env(TOKEN=SECRET).secret("TOKEN").cron(
    SELDOM
).name("secretive")
legion.call(greet).every_minute().name("minutely").tags("due")
legion.call(greet).every_minute().name("also-minutely").when(lambda: False)
