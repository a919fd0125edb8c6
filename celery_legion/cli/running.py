"""``celery legion run``: the heartbeat for crontab."""

from __future__ import annotations

import sys

import click

from celery_legion.beat import Scheduler
from celery_legion.cli import render
from celery_legion.cli.session import Command, open_context, say
from celery_legion.cli.tagged import tagged
from celery_legion.run import Kind
from celery_legion.stores.base import Granted


@click.command("run", cls=Command)
@click.option("--force", is_flag=True, help="Run every job now, whatever the clock says.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only jobs with this tag; may be given again.")
@click.option("--verbose", "-v", is_flag=True, help="Say how many runs were sent, also without a terminal.")
@click.option("--json", "as_json", is_flag=True, help="Say what was sent as JSON.")
@click.pass_context
def command(ctx: click.Context, force: bool, tags: tuple[str, ...], verbose: bool, as_json: bool) -> None:
    """Send every job that is due to the workers, once, and exit.

    For crontab: any number of hosts may run it in the same minute, also beside beat; each fire is sent once.
    A job seen for the first time counts its fires from the start of the current minute. Where no scheduler leads,
    pushes are sent, too. Without a terminal it prints only what is wrong, so that cron has nothing to mail.

    --force sends every job that is on the schedule, once for each time it is called, and moves no schedule. Locks,
    pauses and conditions hold all the same.

    \b
    Examples: * * * * * celery -A shop legion run
              celery -A shop legion run --force --tag cache
    """
    context = open_context(ctx)
    if tags:
        tagged(context.registry.jobs.values(), tags)
    scheduler = Scheduler(context.app)
    try:
        if force:
            _force(scheduler, tags, verbose, as_json)
            return
        sent = scheduler.one_shot.run_due(tags)
    finally:
        scheduler.close()
    if as_json:
        render.write_json({"sent": sent})
    else:
        _say_sent(sent, verbose)


def _force(scheduler: Scheduler, tags: tuple[str, ...], verbose: bool, as_json: bool) -> None:
    shot = scheduler.one_shot
    jobs = tagged(scheduler.context.registry.jobs.values(), tags)
    jobs = [job for job in jobs if job.enabled]
    refused = dict(shot.refusals(jobs))
    for one in shot.run_now([job for job in jobs if job.name not in refused], Kind.MANUAL):
        if one.verdict.granted is not Granted.RUN:
            words = render.reason_words(one.verdict.granted.value)
            refused[one.job.name] = f"{words}; run {one.verdict.holder} holds its lock"
    sent = len(jobs) - len(refused)
    if as_json:
        render.write_json({"sent": sent, "refused": refused})
        return
    for name, why in refused.items():
        say(f"{render.printable(name)} is not run: {render.printable(why)}", err=True)
    _say_sent(sent, verbose)


def _say_sent(count: int, verbose: bool) -> None:
    if verbose or sys.stdout.isatty():
        say(f"{render.counted(count, 'run')} sent")
