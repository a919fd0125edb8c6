"""``celery legion clear-locks``: the emergency brake."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

import click

from celery_legion.cli import render
from celery_legion.cli.names import JobName
from celery_legion.cli.row import dump_lock
from celery_legion.cli.session import Command, open_context, say
from celery_legion.context import Context
from celery_legion.errors import LegionError, UnknownJobError
from celery_legion.job import Job
from celery_legion.run import State
from celery_legion.stores.base import Holder, Lock

WAITING = frozenset({State.CLAIMED, State.SENT})
"""States in which nothing is executed yet: a lock held so only keeps a second message away."""


class UnconfirmedError(LegionError, RuntimeError):
    """Locks are held whose clearing nobody has agreed to. Nothing was cleared."""

    def __init__(self, count: int, asked: bool) -> None:
        super().__init__(count, asked)
        self.count, self.asked = count, asked

    def __str__(self) -> str:
        if self.asked:
            return "nothing was cleared"
        held = "1 lock is" if self.count == 1 else f"{self.count} locks are"
        return f"nothing was cleared: {held} held, and no terminal is there to ask; --yes clears without asking"


@click.command("clear-locks", cls=Command)
@click.argument("job", type=JobName(), required=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="The locks that were cleared, as JSON.")
@click.pass_context
def command(ctx: click.Context, job: str | None, yes: bool, as_json: bool) -> None:
    """Clear a job's lock, or all locks, whoever holds them.

    JOB is a job or a lock by its name. Says first who holds what, and asks before it clears all, or the lock of a
    run that runs: that run goes on, and the job's next one may start beside it. `interrupt` ends a run properly.

    Exit codes: 0 cleared, or nothing was held; 2 not agreed to, nothing cleared; 4 no such job or lock.

    \b
    Examples: celery -A shop legion clear-locks backup
              celery -A shop legion clear-locks --yes
    """
    context = open_context(ctx)
    held = context.store.locks()
    name = None
    if job is not None:
        name = find_lock(context, job, held)
        held = [lock for lock in held if lock.name == name]
    released: list[Lock] = []
    if held:
        _show(held, as_json)
        if not yes and (job is None or _running(held)):
            _ask(held, all_of_them=job is None)
        released = context.store.release(name)
    if as_json:
        render.write_json([dump_lock(lock) for lock in released])
    elif held:
        say(f"{_count(released)} cleared")
    else:
        say("no lock is held" if job is None else f"nothing holds the lock of {render.printable(job)}")


def find_lock(context: Context, word: str, held: Sequence[Lock]) -> str:
    """Return the name of the lock that *word* means: a job's, one by its own name, or one that a former job holds.

    Raises:
        UnknownJobError: It is none of them.
    """
    jobs: Mapping[str, Job] = {}
    # A wrong job elsewhere on the schedule must not be in the way of an emergency.
    with suppress(LegionError):
        jobs = context.registry.jobs
    if word in jobs:
        return jobs[word].lock
    names = {job.lock for job in jobs.values()} | {lock.name for lock in held}
    if word in names:
        return word
    for lock in held:
        if any(holder.job == word for holder in lock.holders):
            return lock.name
    raise UnknownJobError(word, {*jobs, *names})


def _running(locks: Sequence[Lock]) -> list[Holder]:
    return [holder for lock in locks for holder in lock.holders if holder.state not in WAITING]


def _ask(held: Sequence[Lock], all_of_them: bool) -> None:
    if not sys.stdin.isatty():
        raise UnconfirmedError(len(held), asked=False)
    if count := len(_running(held)):
        goes_on = "1 run goes on without its lock, and another may start beside it"
        if count > 1:
            goes_on = f"{count} runs go on without their locks, and others may start beside them"
        say(f"{goes_on};", err=True)
        say("`celery legion interrupt RUN` ends a run properly", err=True)
    question = f"Clear {_count(held, 'all ')}?" if all_of_them else f"Clear {_count(held)}?"
    if not click.confirm(question, err=True):
        raise UnconfirmedError(len(held), asked=True)


def _count(locks: Sequence[Lock], some: str = "") -> str:
    return "1 lock" if len(locks) == 1 else f"{some}{len(locks)} locks"


def _show(locks: Sequence[Lock], quiet: bool) -> None:
    """Say whose the locks are: one line for each run, two on a terminal. Beside JSON, on standard error."""
    separator = "\n  " if sys.stdout.isatty() else ", "
    for lock in locks:
        name = render.printable(lock.name)
        for holder in lock.holders:
            where = f" on {render.printable(holder.worker)}" if holder.worker else ""
            state = f"lock {name}: {holder.state.value}{where}, {render.span_words(holder.expires_in)} left"
            say(f"{state}{separator}run {holder.run_id} of {render.printable(holder.job)}", err=quiet)
