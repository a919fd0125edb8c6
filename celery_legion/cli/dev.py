"""``celery legion dev``: everything on this machine, in one command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import click
from celery.concurrency import get_available_pool_names
from click.core import ParameterSource

from celery_legion.cli import dev_broker, handover, render
from celery_legion.cli.dev_ending import kill_group
from celery_legion.cli.dev_processes import Child, Family, Guard, Signals
from celery_legion.cli.dev_screen import Screen
from celery_legion.cli.dev_summary import summarize
from celery_legion.cli.listing import live_table
from celery_legion.cli.session import Command, app_of, open_context
from celery_legion.cli.working import check
from celery_legion.config import app_name
from celery_legion.context import Context
from celery_legion.url import safe_url

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@click.command("dev", cls=Command)
@click.option(
    "--for", "seconds", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="End by itself after this."
)
@click.option("--embedded", is_flag=True, help="Use a Valkey of dev's own although the app has a broker.")
@click.option(
    "--concurrency", "-c", type=click.IntRange(min=1), default=4, show_default=True, metavar="N", help="Runs at a time."
)
@click.option(
    "--pool",
    "-P",
    type=click.Choice(list(get_available_pool_names())),
    metavar="POOL",
    default=None,
    help="The worker's pool, as `celery worker --pool` takes it.",
)
@click.option(
    "--loglevel",
    "-l",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="INFO",
    show_default=True,
    help="Of both.",
)
@click.pass_context
def command(
    ctx: click.Context, seconds: float | None, embedded: bool, concurrency: int, pool: str | None, loglevel: str
) -> None:
    """Run everything on this machine: a scheduler, a worker, and a Valkey if no broker is configured.

    Ends with Ctrl-C, or after --for, and then tells what happened; a second Ctrl-C kills. Nothing is left behind.
    Without a broker of its own, the app's other commands find the Valkey of a dev that runs here.

    Exit codes: 0 ended as asked, 1 the worker or the scheduler has died, 3 the app's broker does not answer.

    \b
    Examples: celery -A shop legion dev
              celery -A shop legion dev --embedded --for 60
    """
    app = app_of(ctx)
    if embedded and ctx.find_root().get_parameter_source("broker") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--broker names a broker and --embedded wants none: leave one of them out")
    options = own_options(sys.argv)
    signals = Signals()
    with ExitStack() as stack:
        stack.enter_context(signals.caught())
        claim = stack.enter_context(handover.claim(app_name(app)))
        guard = stack.enter_context(Guard())
        if embedded or not handover.has_broker(app):
            refuse_other_store(app)
            why = "--embedded" if embedded else "no broker is configured"
            server = stack.enter_context(dev_broker.embedded(guard))
            broker = f"a Valkey of its own ({why})"
            claim.publish(server.url())
        else:
            with signals.raising():
                broker = dev_broker.check(app)
        with signals.raising():
            # The app's own modules are loaded here.
            context = open_context(ctx)
            check(context)
            queues = missing_queues(app, context)
        click.echo(f"{app_name(app)} runs on {broker}; Ctrl-C ends it")
        if context.config.store_url != app.conf.broker_write_url:
            click.echo(f"locks and history are in {safe_url(context.config.store_url)}")
        extra = [*(["--pool", pool] if pool else []), *(["--queues", ",".join(queues)] if queues else [])]
        died = run(context, signals, guard, options, loglevel.upper(), ["-c", str(concurrency), *extra], seconds)
    if died is not None:
        ctx.exit(1)


def refuse_other_store(app: Any) -> None:
    """Refuse to claim fires in a store that other schedulers may share, and to send them to a Valkey of dev's own.

    Raises:
        click.UsageError: The app has a ``legion_store_url``.
    """
    if url := app.conf.get("legion_store_url"):
        shown = safe_url(getattr(url, "value", url))
        raise click.UsageError(
            f"legion_store_url names {shown}, whose fires would go to dev's own Valkey: name a broker, too, or unset it"
        )


def run(
    context: Context,
    signals: Signals,
    guard: Guard,
    options: Sequence[str],
    loglevel: str,
    extra: Sequence[str],
    seconds: float | None,
) -> Child | None:
    """Run worker and scheduler for *seconds*, or until asked to end; return the one that has died by itself."""
    celery = [sys.executable, "-m", "celery", "--quiet", *options]
    worker = ["worker", "-n", "dev@%h", "-l", loglevel, "--without-mingle", "--without-gossip", *extra]
    since = context.clock.now()
    children: list[Child] = []

    def kill() -> None:
        for child in children:
            kill_group(child.popen.pid)

    signals.at_second = kill
    screen = Screen(render.console(), lambda width: live_table(context, width))
    died = None
    signals.check()
    try:
        for title, argv, quits in (("worker", worker, True), ("beat", ["legion", "work", "-l", loglevel], False)):
            if not signals.asked:
                # Before the screen's thread: a process is forked.
                children.append(Child(title, [*celery, *argv], quits=quits))
                guard.watch(children[-1].popen.pid, quits=quits)
        with screen:
            family = Family(children, screen.lines, signals)
            try:
                died = family.watch(seconds)
                if signals.asked:
                    screen.say("ending; a second Ctrl-C kills what is still running")
            finally:
                family.end()
    finally:
        kill()
    if not signals.killed:
        summarize(context, since, screen.console)
    if died is not None:
        how = f"code {died.popen.returncode}" if died.popen.returncode >= 0 else f"signal {-died.popen.returncode}"
        last = "".join(f"\n  {render.printable(line)}" for line in died.last)
        click.echo(f"legion dev: the {died.title} has ended by itself, with {how}; its last lines:{last}", err=True)
    return died


def own_options(argv: Sequence[str]) -> list[str]:
    """Return Celery's options before ``legion dev``, for other commands of the same app; --workdir is done already."""
    words = list(argv)
    ends = [at for at in range(1, len(words) - 1) if words[at : at + 2] == ["legion", "dev"]]
    options: list[str] = []
    given = iter(words[1 : ends[-1]] if ends else ())
    for word in given:
        if word == "--workdir":
            next(given, None)
        elif not word.startswith("--workdir="):
            options.append(word)
    return options


def missing_queues(app: Any, context: Context) -> list[str]:
    """Return the queues that the worker must name so that it gets the runs of every job; none if it has all anyway."""
    usual = set(app.amqp.queues.consume_from)
    wanted = {job.queue for job in context.registry.jobs.values() if job.queue}
    return sorted(usual | wanted) if wanted - usual else []
