"""A small app for tests with real workers; its tasks write what they do to an append-only file."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from typing import Any

import billiard
from celery import Celery, Task, chain, chord, current_task, group
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.schedules import crontab
from celery.utils.imports import symbol_by_name
from celery.utils.log import get_task_logger
from celery.worker.request import create_request_cls

from celery_legion import Legion, current_run
from celery_legion.worker import CurrentRun

app = Celery("trial", broker=os.environ["TRIAL_BROKER"], backend=os.environ.get("TRIAL_RESULTS") or None)
app.conf.update(
    legion_store_url=os.environ["TRIAL_STORE"],
    legion_key_prefix="trial",
    legion_run_lease=float(os.environ["TRIAL_LEASE"]),
    legion_store_timeout=min(2.0, float(os.environ["TRIAL_LEASE"]) / 3),
    broker_connection_retry_on_startup=True,
    broker_transport_options=json.loads(os.environ.get("TRIAL_TRANSPORT", "{}")),
    task_ignore_result=not os.environ.get("TRIAL_RESULTS"),
    worker_prefetch_multiplier=int(os.environ.get("TRIAL_PREFETCH", "4")),
    worker_cancel_long_running_tasks_on_connection_loss=False,
)
if os.environ.get("TRIAL_QUORUM"):
    app.conf.update(task_default_queue_type="quorum", task_create_missing_queue_type="quorum")
if os.environ.get("TRIAL_START_METHOD"):
    app.conf.worker_pool_start_method = os.environ["TRIAL_START_METHOD"]
if os.environ.get("TRIAL_BILLIARD"):
    # What billiard takes by default on other systems.
    billiard.set_start_method(os.environ["TRIAL_BILLIARD"], force=True)
legion = Legion(app)
for _name, _words in json.loads(os.environ.get("TRIAL_COMMANDS", "{}")).items():
    _job = legion.command(_words.pop("line")).name(_name).yearly()
    for _word, _value in _words.items():
        getattr(_job, _word)(*_value) if isinstance(_value, list) else getattr(_job, _word)(_value)


def note(event: str, **fields: Any) -> None:
    """Append one line to the ledger file; a short append is atomic."""
    run = current_run()
    line = {
        "event": event,
        "id": None if run is None else run.id,
        "job": None if run is None else run.job,
        "attempt": None if run is None else run.attempt,
        "token": None if run is None else run.token,
        "pid": os.getpid(),
        "task": getattr(current_task, "name", None),
        "root": current_task.request.root_id if current_task else None,
        "at": time.time(),
        **fields,
    }
    fd = os.open(os.environ["TRIAL_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, json.dumps(line).encode() + b"\n")
    finally:
        os.close(fd)


def told(name: str) -> Any:
    def tell(run: CurrentRun) -> None:
        assert current_run() is run
        note(f"hook:{name}", state=run.state, reason=run.reason, output=run.output, code=run.exit_code, error=run.error)
        if name in os.environ.get("TRIAL_SLOW_HOOKS", name):
            time.sleep(float(os.environ.get("TRIAL_HOOK_SECONDS", "0")))
        if name == os.environ.get("TRIAL_POISON"):
            os.kill(os.getpid(), signal.SIGKILL)

    return tell


if os.environ.get("TRIAL_HOOKS"):
    # A worker runs no hooks for jobs that it does not know. A crontab that is never due on its own here.
    _names = ("busy", "nightly", *(f"job-{number}" for number in range(50)))
    _names = () if os.environ.get("TRIAL_UNKNOWN") else _names
    app.conf.beat_schedule = {
        _name: {"task": "noop", "schedule": crontab("0", "0", day_of_month="1", month_of_year="1")} for _name in _names
    }
    for _name in ("before", "on_success", "on_failure", "after", "on_skipped", "on_missed"):
        getattr(legion, _name)(told(_name))


@app.task
def work(seconds: float = 0.0) -> str:
    note("start")
    time.sleep(seconds)
    note("end")
    return "done"


@app.task
def stubborn(seconds: float = 60.0) -> None:
    """Passes over every exit that is raised in it."""
    note("start")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            time.sleep(0.2)
        except BaseException as exc:
            note("unmoved", by=type(exc).__name__)


@app.task
def soft_eater(seconds: float) -> None:
    """Takes a soft limit's signal for none of its business."""
    note("start")
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        note("unmoved")
        time.sleep(seconds)


@app.task
def tidy(seconds: float) -> None:
    """Takes its time for tidying up when it is told to end."""
    note("start")
    try:
        time.sleep(60)
    finally:
        note("told")
        time.sleep(seconds)
        note("tidied")


@app.task
def talk(text: str) -> None:
    print(f"printed {text}")
    sys.stderr.write(f"written {text}\n")
    logging.getLogger("shop.prices").warning("logged %s", text)
    get_task_logger("tests.talk").info("told %s", text)
    time.sleep(0.5)


@app.task(acks_late=True)
def late(seconds: float = 0.0) -> None:
    note("start")
    time.sleep(seconds)
    note("end")


@app.task
def fail() -> None:
    note("start")
    raise ValueError("no luck")


@app.task(bind=True, max_retries=None)
def again(self: Any, times: int = 1, countdown: float = 0.0) -> None:
    note("start", retries=self.request.retries)
    if self.request.retries < times:
        raise self.retry(countdown=countdown)
    note("end", retries=self.request.retries)


@app.task
def ignore() -> None:
    note("start")
    raise Ignore


@app.task(acks_late=True)
def reject(requeue: bool = False) -> None:
    run = current_run()
    note("start")
    if not requeue or (run is not None and run.attempt == 1):
        raise Reject("no", requeue=requeue)
    note("end")


@app.task(bind=True)
def replaced(self: Any) -> Any:
    note("start")
    return self.replace(work.si())


@app.task(bind=True)
def retold(self: Any) -> None:
    """Retries with headers of its own, as instrumentations do: Celery sends nested ones alone with a retry."""
    note("start", retries=self.request.retries)
    if self.request.retries < 2:
        raise self.retry(countdown=0.1, headers={"traced": "yes", "headers": {"traced": "yes"}})
    note("end")


@app.task
def step(previous: Any = None, seconds: float = 0.0, broken: bool = False) -> str:
    note("step")
    time.sleep(seconds)
    if broken:
        raise ValueError("a broken step")
    note("stepped")
    return "done"


@app.task(bind=True)
def join(self: Any, previous: Any = None) -> str:
    """A step that adds one more to its chord."""
    note("step")
    self.add_to_chord(step.si(None, 0.3))
    note("stepped")
    return "done"


@app.task(bind=True)
def heir(self: Any, *_: Any, seconds: float = 0.3, form: str = "") -> Any:
    """Ends a run; with a *form* it is replaced once more, and with "retry" it is retried first."""
    note("start")
    if form == "retry" and not self.request.retries:
        raise self.retry(countdown=0.1)
    if form and form != "retry":
        return self.replace(canvas(form))
    time.sleep(seconds)
    note("end")
    return "done"


def canvas(form: str) -> Any:
    slow = step.s(None, 0.3) if form.startswith("add") else step.si(None, 0.3)
    match form:
        case "one":
            return heir.si()
        case "retry":
            return heir.si(form="retry")
        case "twice":
            return heir.si(form="chain")
        case "chain":
            return chain(slow, slow, heir.si())
        case "group":
            return group(slow, slow)
        case "chord":
            return chord([slow, slow], heir.si())
        case "nested":
            return chain(slow, group(slow, chain(slow, slow)), heir.si())
        case "add":
            return chord([join.s(), slow], heir.si())
        case "broken":
            return chain(slow, step.si(None, 0.1, broken=True), heir.si())
    raise ValueError(form)


@app.task(bind=True)
def replaced_by(self: Any, form: str) -> Any:
    note("start")
    return self.replace(canvas(form))


class Collecting(Task):
    """Passes the gate by, as tasks that are executed together do: a strategy of its own collects their messages."""

    abstract = True

    def Strategy(self, task: Any, app: Celery, consumer: Any) -> Any:  # noqa: N802
        make = create_request_cls(symbol_by_name(task.Request), task, consumer.pool, consumer.hostname, None, app=app)

        def receive(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **_: Any) -> None:
            request = make(
                message,
                on_ack=ack,
                on_reject=reject,
                task=task,
                app=app,
                hostname=consumer.hostname,
                body=message.body,
                headers=message.headers,
                decoded=False,
                utc=True,
                connection_errors=consumer.connection_errors,
            )
            consumer.timer.call_after(0.5, execute, (request,))

        def execute(request: Any) -> None:
            note("collected", run=request.id)
            request.acknowledge()

        return receive


@app.task(base=Collecting)
def collect() -> None:
    raise AssertionError("it is not executed by itself")


@app.task
def suicide() -> None:
    note("start")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def leave() -> None:
    note("start")
    raise SystemExit(3)


@app.task(time_limit=1)
def too_long(seconds: float = 30) -> None:
    note("start")
    time.sleep(seconds)


@app.task(soft_time_limit=1)
def soft() -> None:
    note("start")
    time.sleep(30)


@app.task
def plain() -> bool:
    note("plain")
    return current_run() is None


legion.task(talk).name("talkative").yearly().capture_output()
