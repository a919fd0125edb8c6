"""``celery legion …``: the command group, light to import; each command loads when it is called."""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS = {
    "clear-locks": "celery_legion.cli.clearing",
    "dev": "celery_legion.cli.dev",
    "history": "celery_legion.cli.history",
    "inbox": "celery_legion.cli.inbox",
    "interrupt": "celery_legion.cli.interrupting",
    "list": "celery_legion.cli.listing",
    "locks": "celery_legion.cli.locks",
    "logs": "celery_legion.cli.logs",
    "pause": "celery_legion.cli.pausing",
    "push": "celery_legion.cli.pushing",
    "resume": "celery_legion.cli.resuming",
    "run": "celery_legion.cli.running",
    "show": "celery_legion.cli.showing",
    "test": "celery_legion.cli.trying",
    "work": "celery_legion.cli.working",
}
"""Command → module whose ``command`` it is."""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name, None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name]).command
        return command


@click.command(cls=LazyGroup)
def legion() -> None:
    """Look at, run and steer the schedule.

    Exit codes: 0 fine, 1 a run failed, 2 usage or configuration, 3 store or broker unreachable, 4 no such job or run;
    interrupt adds 5 not running, 6 cannot be terminated, 7 not ended yet.
    """
