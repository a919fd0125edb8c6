"""``celery legion list``: the dashboard."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from celery_legion.cli import render
from celery_legion.cli.dashboard import STACKED, WIDE, by_next_fire, notices, rows_of, summary
from celery_legion.cli.detail import PLAIN, details, plain_details
from celery_legion.cli.grid import Column, lay_out, natural_width, wrap, write_lines, write_plain
from celery_legion.cli.row import Board, Row, read_board
from celery_legion.cli.session import Command, addressed, open_context
from celery_legion.cli.standing import dump_row
from celery_legion.cli.tagged import tagged
from celery_legion.context import Context
from celery_legion.errors import LegionError

__all__ = ["command", "live_table"]

ONE_LINE = 140
"""A terminal of this width gets one line a job, even if some of them are wrapped; a narrower one if all fit."""

REFRESH = 1.0
"""Seconds between two looks of ``--watch``."""


@click.command("list", cls=Command)
@click.option("--verbose", "-v", is_flag=True, help="What each job does, where it is written, and its rules.")
@click.option(
    "--tag", "tags", multiple=True, metavar="TAG", help="Only jobs with this tag; repeat it for more of them."
)
@click.option("--next", "by_next", is_flag=True, help="By next run, the soonest first, instead of by name.")
@click.option("--watch", is_flag=True, help="Stay, and look again each second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="A JSON array of jobs; instants are ISO 8601 in UTC.")
@click.pass_context
def command(
    ctx: click.Context, verbose: bool, tags: tuple[str, ...], by_next: bool, watch: bool, as_json: bool
) -> None:
    """Show every job: its schedule, its next run, how the last one went, and what it is doing.

    States: idle, sent (no Legion(app) reports its end), unsent (the broker is not known to have it), queued (sent, no
    worker has begun it), running, retrying, paused, disabled, broken (it cannot fire as it is written), late (a fire
    has passed and no scheduler has taken it up), unseen (no scheduler knows the job yet), no scheduler.

    \b
    Examples: celery -A shop legion list --next
              celery -A shop legion list --tag cache --verbose
    """
    if watch and as_json:
        raise click.UsageError("--watch is for people and --json for programs: leave one of them out")
    out = render.console()
    if watch and not out.is_terminal:
        raise click.UsageError("--watch needs a terminal; without one, call `celery legion list` again and again")
    context = open_context(ctx)
    if watch:
        _watch(out, lambda: _live(context, out.width, out.height, tags=tags, by_next=by_next))
        return
    board = _board(context, tags)
    rows = ordered(board, by_next)
    if as_json:
        render.write_json([dump_row(row, board) for row in rows])
        return
    if not rows:
        click.echo("no jobs: decorate a function with @scheduled(...), or use legion.call(...)")
        return
    if not out.is_terminal:
        columns = [*WIDE, *(PLAIN if verbose else ())]
        more = [plain_details(row, board.zone_of(row.job)) if verbose else () for row in rows]
        write_plain(columns, [[*one, *rest] for one, rest in zip(rows_of(rows, board), more, strict=True)])
        for notice in notices(board):
            click.echo(notice.plain, err=True)
        return
    write_lines(screen(board, rows, out.width, verbose=verbose), out)


def _board(context: Context, tags: Sequence[str]) -> Board:
    jobs = sorted(context.registry.jobs.values(), key=lambda job: job.name)
    return read_board(context, tagged(jobs, tags))


def ordered(board: Board, by_next: bool) -> list[Row]:
    """Return the rows by name, or by when they run next."""
    return sorted(board.rows, key=by_next_fire) if by_next else list(board.rows)


def screen(board: Board, rows: Sequence[Row], width: int, *, verbose: bool = False) -> list[Text]:
    """Return the lines of the whole list for a terminal, the line that sums it up last."""
    space = [] if verbose else [Text()]
    return [*_table(board, rows, width, verbose), *space, *_head(board, width)]


def _head(board: Board, width: int) -> list[Text]:
    return [part for line in (*notices(board), summary(board)) for part in wrap(line, width)]


def _table(board: Board, rows: Sequence[Row], width: int, verbose: bool = False) -> list[Text]:
    cells = rows_of(rows, board)
    columns: tuple[Column, ...] = WIDE
    if natural_width(WIDE, cells) > width and width < ONE_LINE:
        columns, cells = STACKED, rows_of(rows, board, stacked=True)
    return lay_out(
        columns, cells, width, after=[details(row, board.zone_of(row.job), width) for row in rows] if verbose else ()
    )


def live_table(context: Context, width: int) -> Any:
    """Return the whole screen of jobs, at most *width* wide, as something rich prints.

    Reads the store anew. Where it does not answer, the screen says so in one line instead of raising.
    """
    return _live(context, width, None)


def _live(context: Context, width: int, height: int | None, *, tags: Sequence[str] = (), by_next: bool = False) -> Any:
    try:
        board = _board(context, tags)
    except LegionError as exc:
        return Text(render.printable(addressed(str(exc))), style="red")
    # What the screen cannot hold need not be laid out.
    rows = ordered(board, by_next)[:height]
    # The head comes first, since a screen is cut at its foot.
    lines = [*_head(board, width), Text(), *_table(board, rows, width)]
    if height is not None and len(lines) > height:
        lines = [*lines[: height - 1], Text("… and more: a higher terminal shows them, or --tag", style="dim")]
    for line in lines:
        line.no_wrap, line.overflow = True, "crop"
    return Group(*lines)


def _watch(out: Console, look: Callable[[], Any]) -> None:
    # Ctrl-C is how one leaves, not an error.
    with suppress(KeyboardInterrupt), Live(look(), console=out, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(REFRESH)
            live.update(look(), refresh=True)
