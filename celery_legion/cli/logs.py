"""``celery legion logs``: what a run has printed."""

from __future__ import annotations

import click

from celery_legion.cli import render
from celery_legion.cli.following import follow, how_it_ended, write_output
from celery_legion.cli.history import dump
from celery_legion.cli.names import RunId
from celery_legion.cli.session import Command, open_context, say
from celery_legion.context import Context
from celery_legion.lookup import find_run, is_over, runs_of, unknown_run
from celery_legion.run import Reason, Record


@click.command("logs", cls=Command)
@click.argument("target", metavar="RUN|JOB", type=RunId())
@click.option("--follow", "-f", "following", is_flag=True, help="Go on until the run is over.")
@click.option("--json", "as_json", is_flag=True, help="The run's record as JSON, with its output.")
@click.pass_context
def command(ctx: click.Context, target: str, following: bool, as_json: bool) -> None:
    """Show the end of what a run has printed: of a run, or of a job's open run, else its last.

    Kept are the last 8 KiB (legion_output_limit) of commands, of jobs with .capture_output(), and of what `test` runs;
    the whole output is in the worker's log. Of a run that goes on, what it has printed so far.

    \b
    Examples: celery -A shop legion logs backup --follow
              celery -A shop legion logs 51c73524
    """
    if following and as_json:
        raise click.UsageError("--follow and --json do not go together: JSON is of one moment")
    context = open_context(ctx)
    record = _find(context, target)
    if as_json:
        render.write_json(dump(record))
        return
    if following:
        _follow(context, record)
        return
    write_output(record.output or "")
    if record.output is None:
        say(f"{_name(record)}: {_nothing(context, record)}", err=True)
    elif not is_over(record):
        say(f"{_name(record)} goes on; --follow shows what comes", err=True)


def _find(context: Context, target: str) -> Record:
    record = find_run(context, target)
    if record is not None:
        return record
    records = runs_of(context, target)
    if not records:
        raise unknown_run(context, target)
    return records[0]


def _follow(context: Context, record: Record) -> None:
    *_, last = follow(context, record, write_output)
    say(f"{_name(last)} {how_it_ended(last)}", err=True)


def _name(record: Record) -> str:
    return f"run {record.id} of {render.printable(record.job)}"


def _nothing(context: Context, record: Record) -> str:
    if not is_over(record) and record.started_at is None:
        return "has not begun yet"
    job = context.registry.find(record.job)
    if record.reason == Reason.UNWATCHED:
        return "no worker with Legion(app) reports what it prints"
    kept = job is not None and (job.action.command is not None or job.policy.capture_output)
    return (
        "it has printed nothing"
        if kept
        else "what it prints is not kept; .capture_output() keeps it of jobs that code describes"
    )
