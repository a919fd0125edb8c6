"""``celery legion inbox``: pushes that wait, and those that were put aside."""

from __future__ import annotations

import click
from rich.text import Text

from celery_legion.cli import render
from celery_legion.cli.grid import Column
from celery_legion.cli.session import Command, open_context
from celery_legion.clock import isoformat
from celery_legion.stores.base import Aside, Request
from celery_legion.stores.data import ASIDE_LIMIT

SHOWN = 1000
BODY_SHOWN = 200
COLUMNS = (Column("State"), Column("Push"), Column("Body", least=20), Column("Why", least=16))


@click.command("inbox", cls=Command)
@click.option("--json", "as_json", is_flag=True, help="What waits and what was put aside, with the bodies as pushed.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show the pushes that wait for a scheduler, and those that could not be handled, with the reason.

    Example: celery -A shop legion inbox
    """
    context = open_context(ctx)
    waiting, asides = context.store.requests(SHOWN), context.store.asides(ASIDE_LIMIT)
    if as_json:
        render.write_json(
            {
                "waiting": [{"id": request.id, "body": request.body} for request in waiting],
                "put_aside": [
                    {"id": one.request.id, "body": one.request.body, "why": one.why, "at": isoformat(one.at)}
                    for one in asides
                ],
            }
        )
        return
    if not waiting and not asides:
        click.echo("the inbox is empty, and nothing was put aside")
        return
    now = context.clock.now()
    rows = [_waiting(request) for request in waiting] + [_aside(one, render.ago(one.at, now)) for one in asides]
    render.write_table(COLUMNS, rows)


def _waiting(request: Request) -> list[Text | str]:
    return [Text("waits", style="cyan"), render.short_id(request.id), _body(request), render.NONE]


def _aside(one: Aside, when: str) -> list[Text | str]:
    state = Text(f"put aside {when}", style="yellow")
    return [state, render.short_id(one.request.id), _body(one.request), render.printable(one.why)]


def _body(request: Request) -> str:
    return render.printable(request.body[:BODY_SHOWN])
