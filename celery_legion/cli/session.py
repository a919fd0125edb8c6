"""One command's session: the app it works on, and errors as one line with their exit code."""

from __future__ import annotations

import os
from typing import Any

import click

from celery_legion.context import Context
from celery_legion.errors import LegionError


def failure(error: LegionError) -> click.ClickException:
    """Return one line for standard error with the error's exit code."""
    kind = type("Failure", (click.ClickException,), {"exit_code": error.exit_code})
    made: click.ClickException = kind(str(error))
    return made


class Command(click.Command):
    """A command that ends on an error of ours with one line and the error's exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except LegionError as exc:
            raise failure(exc) from exc


def open_context(ctx: click.Context) -> Context:
    """Return the context of the command line's app, with its modules imported and its jobs known.

    Raises:
        click.UsageError: The command line names no app.
    """
    app = getattr(ctx.obj, "app", None)
    # Without -A, Celery hands over an app of its own, which knows no jobs.
    if app is None or (app.main == "default" and not os.environ.get("CELERY_CONFIG_MODULE")):
        raise click.UsageError("no app: say which with `celery -A yourapp legion …`")
    app.loader.import_default_modules()
    app.finalize()
    return Context.of(app)
