"""``celery legion work``: the scheduler as a daemon."""

from __future__ import annotations

import signal
import sys

import click
from celery.bin.base import LOG_LEVEL

from celery_legion.cli.session import Command, app_code_error, app_of
from celery_legion.context import Context
from celery_legion.errors import EagerTasksError, LegionError

SCHEDULER = "celery_legion.beat:Scheduler"


@click.command("work", cls=Command)
@click.option(
    "--sleep",
    type=click.FloatRange(0.05, 1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="The longest wait between two looks; what is due or pushed is seen to at once all the same.",
)
@click.option("--loglevel", "-l", type=LOG_LEVEL, default="INFO", help="Logging level.  [default: INFO]")
@click.option("--logfile", "-f", default=None, help="Where to log to, instead of standard error.")
@click.pass_context
def command(ctx: click.Context, sleep: float, loglevel: int, logfile: str | None) -> None:
    """Send every job that is due to the workers, until SIGTERM or Ctrl-C.

    The same as `celery beat -S celery_legion.Scheduler`. Any number of them may run, also beside beat: one leads, the
    others take over when it ends. It gives up the lead at its end, and exits with 0.

    Example: celery -A shop legion work --loglevel WARNING
    """
    app = app_of(ctx)
    # Until beat has handlers of its own there is no lead to give up.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    beat = app.Beat(
        scheduler_cls=SCHEDULER,
        max_interval=sleep,
        pidfile=None,
        loglevel=loglevel,
        logfile=logfile,
        quiet=getattr(ctx.obj, "quiet", False),
        no_color=getattr(ctx.obj, "no_color", None) or None,
    )
    try:
        beat.init_loader()
    except LegionError:
        raise
    except Exception as exc:
        raise app_code_error(exc) from exc
    check(Context.of(app))
    beat.run()


def check(context: Context) -> None:
    """Refuse what cannot work before a banner is shown and standard error belongs to the log.

    Raises:
        LegionError: A setting, a job, or ``task_always_eager`` cannot work.
    """
    if context.app.conf.task_always_eager:
        raise EagerTasksError
    _ = context.config, context.registry.jobs, context.store
