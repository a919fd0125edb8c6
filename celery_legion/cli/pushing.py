"""``celery legion push``: a run now, through the inbox."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from celery_legion.cli import render
from celery_legion.cli.history import dump
from celery_legion.cli.names import JobName
from celery_legion.cli.session import Command, open_context, say
from celery_legion.cli.trying import HELD
from celery_legion.push import strict_json
from celery_legion.pushing import Pushed, await_push, push
from celery_legion.run import State

PATIENCE = timedelta(seconds=3)
"""How long a scheduler may take to look into the inbox; it does so each second at least."""


@click.command("push", cls=Command)
@click.argument("job", type=JobName())
@click.option("--arg", "args", multiple=True, metavar="VALUE", help="An argument, instead of the job's own.")
@click.option("--kwarg", "kwargs", multiple=True, metavar="NAME=VALUE", help="A keyword argument, beside its own.")
@click.option("--no-wait", is_flag=True, help="Do not wait for a scheduler to take it.")
@click.option("--json", "as_json", is_flag=True, help="Say what became of it as JSON.")
@click.pass_context
def command(
    ctx: click.Context, job: str, args: tuple[str, ...], kwargs: tuple[str, ...], no_wait: bool, as_json: bool
) -> None:
    """Ask for a run of a job now: the running scheduler sends it within milliseconds.

    Each VALUE is read as JSON (5, true, [1, 2], "5"), or is text if it is none. The job's lock is respected; its
    clock, pauses and conditions are not asked. Without a scheduler the push waits in the inbox until there is one.

    Exit codes: 0 it is sent or waits, 1 it has failed at once, 2 put aside, 3 store unreachable, 4 no such job,
    8 another run holds its lock.

    \b
    Examples: celery -A shop legion push restock --arg 40 --kwarg shelf=milk
              celery -A shop legion push backup
    """
    context = open_context(ctx)
    given = [_value(text) for text in args] if args else None
    run_id = push(context, job, given, dict(_pair(text) for text in kwargs))
    pushed = Pushed(id=run_id) if no_wait else await_push(context, run_id, job, PATIENCE)
    if as_json:
        record = pushed.record
        render.write_json(
            {
                "id": pushed.id,
                "put_aside": None if pushed.aside is None else pushed.aside.why,
                "record": None if record is None else dump(record),
            }
        )
    else:
        say(_sentence(job, pushed, no_wait, leads=bool(context.store.schedulers())))
    ctx.exit(_exit_code(pushed))


def _exit_code(pushed: Pushed) -> int:
    if pushed.aside is not None:
        return 2
    record = pushed.record
    if record is not None and record.id is None:
        return HELD
    return 1 if record is not None and record.state is State.FAILED else 0


def _value(text: str) -> Any:
    try:
        return strict_json(text)
    except (ValueError, RecursionError):
        return text


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise click.BadParameter(f"{text!r} is no NAME=VALUE", param_hint="--kwarg")
    return name, _value(value)


def _sentence(job: str, pushed: Pushed, no_wait: bool, leads: bool) -> str:
    name, record = render.printable(job), pushed.record
    if pushed.aside is not None:
        return f"the push of {name} was put aside: {render.printable(pushed.aside.why)}"
    if record is not None and record.id is None:
        return f"the push of {name} came to nothing: {record.state.value} ({render.printable(record.reason or '')})"
    if record is not None:
        how = f"{'has ' if record.state.terminal else 'is '}{record.state.value}"
        error = f": {render.error_words(record.error)}" if record.state is State.FAILED else ""
        return f"run {pushed.id} of {name} {how}{error}"
    if no_wait or leads:
        return f"run {pushed.id} of {name} is asked for"
    return f"run {pushed.id} of {name} waits in the inbox: no scheduler is running"
