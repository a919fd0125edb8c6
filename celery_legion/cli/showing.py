"""``celery legion show``: everything of one job on one screen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click
from rich.text import Text

from celery_legion.cli import history, render
from celery_legion.cli.dashboard import last_words, lock_words
from celery_legion.cli.detail import action_words, all_rules, at, hook_names, pair_lines
from celery_legion.cli.fires import next_fire, written
from celery_legion.cli.grid import wrap, write_lines
from celery_legion.cli.names import JobName
from celery_legion.cli.row import Board, Row, read_board
from celery_legion.cli.session import Command, addressed, open_context
from celery_legion.cli.standing import dump_row, explain, pause_words, standing
from celery_legion.clock import isoformat
from celery_legion.context import Context
from celery_legion.run import Record
from celery_legion.triggers.words import describe

FIRES = 5
RECORDS = 5
TAIL = 6
"""Lines of the last output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One job with all that is shown of it: the next fires, its newest records, its hooks and rules."""

    board: Board
    fires: Sequence[datetime]
    records: Sequence[Record]
    hooks: dict[str, list[str]]
    rules: Sequence[str]

    @property
    def row(self) -> Row:
        """The job's row."""
        return self.board.rows[0]

    def dump(self) -> dict[str, Any]:
        """Return it as JSON-ready data: what ``list --json`` says of the job, and more."""
        job = self.row.job
        return {
            **dump_row(self.row, self.board),
            "kind": job.action.kind.value,
            "args": [render.value(arg) for arg in job.args],
            "kwargs": {name: render.value(value) for name, value in job.kwargs.items()},
            "explanation": explain(self.row, self.board),
            "next_fires": [isoformat(fire) for fire in self.fires],
            "rules": list(self.rules),
            "hooks": self.hooks,
            "records": [history.dump(record) for record in self.records],
        }


@click.command("show", cls=Command)
@click.argument("job", type=JobName())
@click.option("--json", "as_json", is_flag=True, help="One JSON object; instants are ISO 8601 in UTC.")
@click.pass_context
def command(ctx: click.Context, job: str, as_json: bool) -> None:
    """Show everything of one job: when it fires, what it does, by which rules, and why it stands as it does.

    Example: celery -A shop legion show shop.nightly_report
    """
    context = open_context(ctx)
    shown = look_up(context, job)
    if as_json:
        render.write_json(shown.dump())
        return
    out = render.console()
    # Without a terminal nothing is wrapped.
    lines = screen(shown, out.width if out.is_terminal else None, context.config.timezone)
    if out.is_terminal:
        write_lines(lines, out)
    else:
        click.echo("\n".join(line.plain for line in lines))


def look_up(context: Context, name: str) -> Shown:
    """Return what is shown of the job called *name*.

    Raises:
        UnknownJobError: There is none.
    """
    job = context.registry.get(name)
    board = read_board(context, [job])
    return Shown(
        board=board,
        fires=_next_fires(board.rows[0], board.now),
        records=context.store.runs(name, RECORDS),
        hooks=hook_names(context.registry.hooks_of(job)),
        rules=all_rules(job, context.config),
    )


def _next_fires(row: Row, now: datetime) -> list[datetime]:
    if not row.job.enabled or row.unknown or row.problem:
        return []
    trigger = row.job.trigger.anchored(row.state.anchor or now)
    fires: list[datetime] = []
    while len(fires) < FIRES and (fire := next_fire(trigger, fires[-1] if fires else now)) is not None:
        fires.append(fire)
    return fires


def screen(shown: Shown, width: int | None, zone: str) -> list[Text]:
    """Return the lines of the whole screen; with a *width* of None nothing is wrapped. Records are in *zone*."""
    limit = width or 1_000_000
    row, board = shown.row, shown.board
    found = standing(row, board)
    parts = [part for part in (found.text, last_words(row, board.now)) if part]
    lines = [Text.assemble((render.printable(row.job.name), "bold"), "  ", Text(" · ").join(parts)), Text()]
    lines = [part for line in lines for part in wrap(line, limit)]
    reasons = explain(row, board)
    if reasons:
        for reason in reasons:
            first, *rest = wrap(Text(f"  {reason}"), limit)
            lines += [Text.assemble("- ", first[2:]), *rest]
        lines.append(Text())
    lines += pair_lines(_pairs(shown), limit)
    lines.append(Text())
    if not shown.records:
        return [*lines, Text("it has not run yet, and no fire of it was skipped", style="dim")]
    lines += history.screen(shown.records, board.now, zone, limit, job=False)
    said = next((record for record in shown.records if record.output), None)
    if said is not None:
        lines += [Text(), *_tail(said, limit)]
    return lines


def _pairs(shown: Shown) -> Iterator[tuple[str, str]]:
    row, board = shown.row, shown.board
    job, trigger = row.job, row.job.trigger
    zone = board.zone_of(job)
    words, code = describe(trigger), written(trigger)
    yield "schedule", render.printable(words if code is None or code == words else f"{words}   {code}")
    yield "zone", zone
    pause = row.state.pause
    for index, fire in enumerate(shown.fires):
        skipped = ", skipped: paused" if pause is not None and (pause.until is None or fire < pause.until) else ""
        yield "" if index else "next", f"{at(fire, zone)}   {render.ago(fire, board.now)}{skipped}"
    if not shown.fires and job.enabled:
        never = "never, as it is written" if row.problem else "never again"
        known = "when its schedule says so" if row.asked else never
        yield "next", "known once a scheduler has seen it" if row.unknown else known
    if pause is not None:
        yield "pause", pause_words(pause, board.now, zone) or "until it is resumed"
    yield (
        "lock",
        lock_words(row, " left") if row.lock is not None else "free" if job.policy.limit else "none: runs may overlap",
    )
    yield "does", action_words(job)
    yield "written at", render.printable(job.place)
    yield "description", render.printable(job.description)
    yield "tags", render.printable(", ".join(job.tags))
    yield "queue", render.printable(board.queue_of(job) or "as the app routes it")
    yield "rules", "; ".join(shown.rules)
    for name, hooks in shown.hooks.items():
        yield name, ", ".join(hooks)


def _tail(record: Record, width: int) -> list[Text]:
    said = [render.printable(line) for line in (record.output or "").splitlines()]
    cut = "" if len(said) <= TAIL else f", the last {TAIL} lines of {len(said)}"
    lines = [Text(f"output of run {render.short_id(record.id)}{cut}", style="bold")]
    for line in said[-TAIL:]:
        lines += wrap(Text(f"  {line}"), width)
    if cut:
        lines.append(
            Text(addressed(f"`celery legion logs {render.short_id(record.id)}` shows all that is kept"), style="dim")
        )
    return lines
