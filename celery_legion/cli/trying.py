"""``celery legion test``: the sandbox."""

from __future__ import annotations

import time
from typing import Any

import click

from celery_legion.beat import Scheduler
from celery_legion.cli import render
from celery_legion.cli.following import follow, how_it_ended, write_output
from celery_legion.cli.history import dump
from celery_legion.cli.interrupting import sentence
from celery_legion.cli.names import JobName
from celery_legion.cli.session import Command, open_context, say
from celery_legion.context import Context
from celery_legion.engine import Ordered
from celery_legion.errors import InvalidJobError
from celery_legion.interruption import interrupt
from celery_legion.job import Job
from celery_legion.lookup import is_over
from celery_legion.run import Kind, Record, State
from celery_legion.stores.base import Granted

HELD = 8
"""Exit code: another run holds the job's lock."""

HIGHEST = 125
"""Highest exit code of a command that is passed on; shells give the higher ones meanings of their own."""

SOON = 3.0
"""Seconds after which a run that has not begun wants an explanation."""


@click.command("test", cls=Command)
@click.argument("job", type=JobName())
@click.option("--force", is_flag=True, help="Run it even while another run holds its lock.")
@click.option("--json", "as_json", is_flag=True, help="The run's record as JSON when it is over; no stream.")
@click.pass_context
def command(ctx: click.Context, job: str, force: bool, as_json: bool) -> None:
    """Run a job now on a worker, and show what it prints as it comes.

    Its clock, pauses and conditions are not asked, and its schedule does not move. Its lock is respected unless
    --force. What a task prints and logs is shown, too. Ctrl-C interrupts the run.

    Exit codes: 0 it succeeded; a command's own (1 to 125), else 1, if not; 2 usage, 3 store or broker unreachable,
    4 no such job, 8 another run holds its lock.

    \b
    Examples: celery -A shop legion test backup
              celery -A shop legion test shop.nightly_report --force
    """
    context = open_context(ctx)
    found = context.registry.get(job)
    if found.problem:
        raise InvalidJobError(found.name, found.problem)
    if not context.enabled:
        raise click.UsageError("no worker would report how it went: put Legion(app) behind your app = Celery(...)")
    scheduler = Scheduler(context.app)
    try:
        [ordered] = scheduler.one_shot.run_now([found], Kind.MANUAL, unlocked=force)
    finally:
        scheduler.close()
    if ordered.verdict.granted is not Granted.RUN:
        _held(context, ordered, as_json)
        ctx.exit(HELD)
    if not as_json:
        say(f"run {ordered.run_id} of {render.printable(job)} is sent to the workers", err=True)
    try:
        record = _watch(context, found, ordered.run_id, quiet=as_json)
    except KeyboardInterrupt:
        say("\ninterrupting the run", err=True)
        [result] = interrupt(context, ordered.run_id)
        say(sentence(result), err=True)
        ctx.exit(130)
    if as_json:
        render.write_json(dump(record))
    else:
        say(_sentence(record), err=True)
    ctx.exit(_exit_code(record))


def _held(context: Context, ordered: Ordered, as_json: bool) -> None:
    holder = ordered.verdict.holder
    record = None if holder is None else context.store.get(holder)
    if as_json:
        render.write_json({"held_by": None if record is None else dump(record)})
        return
    name = render.printable(ordered.job.name)
    who = f"run {holder}"
    if record is not None:
        where = f" on {render.printable(record.worker)}" if record.worker else ""
        who = f"run {holder} of {render.printable(record.job)} is {record.state.value}{where} and holds its lock"
    say(f"{name} is not run: {who}; --force runs it all the same", err=True)


def _watch(context: Context, job: Job, run_id: str, quiet: bool) -> Record:
    first = context.store.get(run_id)
    assert first is not None
    record, sent, explained = first, time.monotonic(), quiet

    def write(text: str) -> None:
        if not quiet:
            write_output(text)

    for record in follow(context, first, write):
        if not explained and record.started_at is None and time.monotonic() - sent > SOON and not is_over(record):
            explained = True
            say(f"it has not begun yet: {_why_not(context, run_id)}; Ctrl-C takes it back", err=True)
    return record


def _why_not(context: Context, run_id: str) -> str:
    workers = context.store.workers()
    if not workers:
        return "no worker with Legion(app) is running"
    queues = sorted({queue for worker in workers for queue in worker.queues})
    return f"it waits for a worker; those that are running consume {', '.join(map(render.printable, queues))}"


def _sentence(record: Record) -> str:
    if not is_over(record):
        return f"run {record.id} {how_it_ended(record)}"
    how = render.outcome(record)
    took = ""
    if record.started_at is not None and record.ended_at is not None:
        took = f" after {render.span_words(record.ended_at - record.started_at)}"
    code = f", exit code {record.exit_code}" if record.exit_code else ""
    error = f": {render.printable(record.error)}" if record.error else ""
    return f"{how}{took}{code}{error}"


def _exit_code(record: Record) -> Any:
    if record.state is State.SUCCEEDED:
        return 0
    code = record.exit_code
    return code if code is not None and 0 < code <= HIGHEST else 1
