"""``celery legion resume``: the end of a pause."""

from __future__ import annotations

import shlex

import click

from celery_legion.cli import render
from celery_legion.cli.names import JobName
from celery_legion.cli.pausing import dump, sentence
from celery_legion.cli.row import EVERYTHING
from celery_legion.cli.session import Command, open_context, say
from celery_legion.errors import UnknownJobError
from celery_legion.triggers.zones import get_zone


@click.command("resume", cls=Command)
@click.argument("job", type=JobName(), required=False)
@click.option("--json", "as_json", is_flag=True, help="What was lifted, and what holds still, as JSON.")
@click.pass_context
def command(ctx: click.Context, job: str | None, as_json: bool) -> None:
    """Let a paused job, or all jobs, go on.

    Without a job it lifts the pause of all; jobs that were paused by their names stay so. What was not paused is no
    error. Nothing that was skipped meanwhile is made up for.

    Example: celery -A shop legion resume backup
    """
    context = open_context(ctx)
    store, now, name = context.store, context.clock.now(), EVERYTHING if job is None else job
    pauses = store.pauses()
    # A job may be off the schedule and its pause still be there.
    if name != EVERYTHING and name not in pauses and name not in context.registry.jobs:
        raise UnknownJobError(name, {*context.registry.jobs, *pauses})
    resumed = store.resume(name)
    left = [pause for pause in pauses.values() if pause.name != name and EVERYTHING in (name, pause.name)]
    if as_json:
        render.write_json({"job": job, "resumed": resumed, "still_paused": [dump(pause) for pause in left]})
        return
    who = "all jobs" if name == EVERYTHING else render.printable(name)
    if not resumed:
        say("no pause of all jobs is in force" if name == EVERYTHING else f"{who} was not paused")
    else:
        say(f"the pause of {who} is lifted")
    zone = get_zone(context.config.timezone)
    for pause in sorted(left, key=lambda pause: pause.name):
        if pause.name == EVERYTHING:
            hint = "`celery legion resume` without a job lifts that"
        else:
            hint = f"`celery legion resume {shlex.quote(render.printable(pause.name))}` lifts that"
        say(f"{sentence(pause, now, zone)}; {hint}")
