"""Names on the command line: what a shell completes."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta
from typing import Any

import click
from celery.app.utils import find_app
from click.shell_completion import CompletionItem

from celery_legion.cli.session import open_context
from celery_legion.context import Context

PATIENCE = timedelta(seconds=1)
"""How long a person at a prompt waits for the store's answer."""

SETTINGS = {
    "loader": "CELERY_LOADER",
    "broker": "CELERY_BROKER_URL",
    "result_backend": "CELERY_RESULT_BACKEND",
    "config": "CELERY_CONFIG_MODULE",
}
"""Celery's options → the variables by which it hands them to the app."""


class JobName(click.ParamType):
    """A job's name; the command says whether there is one of it."""

    name = "job"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the names of the app's jobs that begin so; none if anything is wrong with the app."""
        return _complete(ctx, _jobs, incomplete)


class RunId(click.ParamType):
    """A run's id, or what stands for runs: a job's name."""

    name = "run"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the ids of running runs and the names of jobs that begin so; what cannot be known is left out."""
        return _complete(ctx, _running, incomplete) + _complete(ctx, _jobs, incomplete)


def _jobs(context: Context) -> Iterable[tuple[str, str]]:
    return [(job.name, job.description) for job in context.registry.jobs.values()]


def _running(context: Context) -> Iterable[tuple[str, str]]:
    records = context.fresh_store(PATIENCE).running()
    return [(record.id, record.job) for record in records if record.id is not None]


def _complete(
    ctx: click.Context, read: Callable[[Context], Iterable[tuple[str, str]]], incomplete: str
) -> list[CompletionItem]:
    """Return what *read* finds of the app, quietly: the shell takes everything that is printed for an answer."""
    silence = io.StringIO()
    try:
        with redirect_stdout(silence), redirect_stderr(silence):
            _find_app(ctx)
            found = sorted(read(open_context(ctx)))
    # A module of the app may do anything, and a prompt is no place to hear of it.
    except (Exception, SystemExit):
        return []
    return [CompletionItem(name, help=words) for name, words in found if name.startswith(incomplete)]


def _find_app(ctx: click.Context) -> None:
    """Do what Celery's own command has not done: completion calls no command."""
    root = ctx.find_root()
    if root.obj is None:
        for option, variable in SETTINGS.items():
            if value := root.params.get(option):
                os.environ[variable] = str(value)
        app = root.params.get("app")
        root.obj = _Session(find_app(app) if isinstance(app, str) else app)
    ctx.obj = root.obj


class _Session:
    """What a command finds of Celery's session."""

    def __init__(self, app: Any) -> None:
        self.app = app
