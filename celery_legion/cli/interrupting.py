"""``celery legion interrupt``: process control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from celery_legion.cli import render
from celery_legion.cli.history import dump
from celery_legion.cli.names import RunId
from celery_legion.cli.session import Command, open_context, say
from celery_legion.interruption import Interrupted, Verdict, interrupt
from celery_legion.lookup import is_over
from celery_legion.run import Record

EXIT_CODES = {Verdict.ENDED: 0, Verdict.NOT_RUNNING: 5, Verdict.REFUSED: 6, Verdict.NOT_YET: 7}


@click.command("interrupt", cls=Command)
@click.argument("target", metavar="RUN|JOB|PID", type=RunId())
@click.option("--signal", default="TERM", show_default=True, help="The signal that is sent first.")
@click.option("--grace", default="5s", show_default=True, help="How long after it SIGKILL follows.")
@click.option("--wait", default=None, help="How long to wait for the end.  [default: renewal, grace and 15 s]")
@click.option("--json", "as_json", is_flag=True, help="A JSON array of runs.")
@click.pass_context
def command(ctx: click.Context, target: str, signal: str, grace: str, wait: str | None, as_json: bool) -> None:
    """End a run, all open runs of a job, or the run of a process, and say what came of it.

    What waits in a queue ends at once. What runs is ended by its worker, on whatever host that is; if the worker is
    away, when it is back.

    Exit codes: 0 ended, 4 no such job, run or process, 5 not running, 6 cannot be terminated, 7 not ended yet.

    \b
    Examples: celery -A shop legion interrupt nightly-backup --grace 30s
              celery -A shop legion interrupt 51c73524
    """
    context = open_context(ctx)

    def asked(records: Sequence[Record]) -> None:
        if not as_json:
            for record in records:
                where = f" on {render.printable(record.worker)}" if record.worker else ""
                run = f"run {record.id} of {render.printable(record.job)}"
                say(f"{run} is asked to end{where}; waiting", err=True)

    results = interrupt(context, target, signal=signal, grace=grace, wait=wait, asked=asked)
    if as_json:
        render.write_json([_dump(result) for result in results])
    else:
        for result in results:
            say(sentence(result))
    ctx.exit(max(EXIT_CODES[result.verdict] for result in results))


def _dump(result: Interrupted) -> dict[str, Any]:
    return {"verdict": result.verdict.value, "why": result.why, "run": dump(result.record)}


def sentence(result: Interrupted) -> str:
    """Return in words what came of asking for the end of a run."""
    record = result.record
    run = f"run {record.id} of {render.printable(record.job)}"
    how = render.outcome(record)
    match result.verdict:
        case Verdict.ENDED:
            return f"{run} ended: {how}"
        case Verdict.NOT_RUNNING:
            return f"{run} is not running: {how}"
        case Verdict.REFUSED:
            why = render.printable(result.why or "")
            return f"{run} cannot be ended: {why}" if is_over(record) else f"{run} goes on: {why}"
        case Verdict.NOT_YET:
            where = f", and {render.printable(record.worker)} has not ended it yet" if record.worker else ""
            return f"{run} is asked to end{where}: {how}"
