"""``celery legion …``: the command group, light to import; each command loads when it is called."""

from __future__ import annotations

from importlib import import_module

import click
from click.shell_completion import CompletionItem

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

SECTIONS = {
    "Look": {
        "list": "Show every job: its schedule, its next run, how the last one went",
        "show": "Show everything of one job",
        "history": "Show what ran, what was skipped and why, newest first",
        "logs": "Show the end of what a run has printed",
        "locks": "Show every lock: which run holds it, since when",
        "inbox": "Show the pushes that wait for a scheduler",
    },
    "Steer": {
        "push": "Ask for a run of a job now",
        "pause": "Pause a job, or all jobs, for a while or until resumed",
        "resume": "Let a paused job, or all jobs, go on",
        "interrupt": "End a run, all open runs of a job, or the run of a process",
        "clear-locks": "Clear a job's lock, or all locks, whoever holds them",
    },
    "Run": {
        "test": "Run a job now on a worker, and show what it prints as it comes",
        "run": "Send every job that is due to the workers, once, and exit",
        "work": "Send every job that is due to the workers, until SIGTERM",
        "dev": "Run everything on this machine: a scheduler, a worker",
    },
}
"""How the group's help lists the commands: how each one's own help begins, said here so that none is imported."""


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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that *args* begin with; a misspelt one is told what was meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as exc:
            from celery_legion.errors import did_you_mean

            raise click.UsageError(f"no such command: {args[0]!r}{did_you_mean(args[0], COMMANDS)}", ctx) from exc

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in sections, without importing any."""
        width = max(map(len, COMMANDS))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), words) for name, words in commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the commands' names, without importing any, and the options."""
        words = {name: words for commands in SECTIONS.values() for name, words in commands.items()}
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        items = [CompletionItem(name, help=words[name]) for name in names]
        return items + click.Command.shell_complete(self, ctx, incomplete)


@click.command(cls=LazyGroup, invoke_without_command=True)
@click.pass_context
def legion(ctx: click.Context) -> None:
    """Look at, run and steer the schedule.

    Exit codes: 0 fine, 1 a run failed, 2 usage or configuration, 3 store or broker unreachable, 4 no such job or run;
    interrupt adds 5 not running, 6 cannot be terminated, 7 not ended yet; test and push add 8 the lock is held.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
