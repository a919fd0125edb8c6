"""``celery legion run``: the heartbeat for crontab."""

from __future__ import annotations

import click

from celery_legion.beat import Scheduler
from celery_legion.cli import render
from celery_legion.cli.session import Command, open_context


@click.command("run", cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Say what was sent as JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Send every job that is due to the workers, once, and exit.

    For crontab: any number of hosts may run it in the same minute, also beside beat; each fire is sent once.
    A job seen for the first time counts its fires from the start of the current minute.

    Example: * * * * * celery -A shop legion run
    """
    context = open_context(ctx)
    scheduler = Scheduler(context.app)
    try:
        claimed = scheduler.run_once()
    finally:
        scheduler.close()
    if as_json:
        render.write_json({"sent": claimed})
    else:
        click.echo(f"{render.size_words(claimed)} run{'' if claimed == 1 else 's'} sent")
