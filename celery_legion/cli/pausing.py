"""``celery legion pause``: fires that are skipped for a while."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import click

from celery_legion.cli import render
from celery_legion.cli.names import JobName
from celery_legion.cli.row import EVERYTHING, dump_pause
from celery_legion.cli.session import Command, open_context, say
from celery_legion.duration import DurationError, parse_duration
from celery_legion.errors import LegionError
from celery_legion.stores.base import Pause
from celery_legion.triggers.zones import get_zone, offsets, to_instant

CLOCK = re.compile(r"\d{1,2}:\d\d(:\d\d)?", re.ASCII)
NUMBER = re.compile(r"[\d.]+", re.ASCII)
DAY = timedelta(days=1)


class PauseEndError(LegionError, ValueError):
    """A text is no moment to pause until, or one that is over."""

    def __init__(self, got: str, problem: str, zone: str) -> None:
        super().__init__(got, problem, zone)
        self.got, self.problem, self.zone = got, problem, zone

    def __str__(self) -> str:
        return (
            f"cannot pause until {self.got!r}: it {self.problem}; write how long, such as '2h' or '90m', "
            f"or when, such as '18:00' or '2030-12-01 08:00' ({self.zone}) or '2030-12-01T08:00+01:00'"
        )


def parse_end(text: str, now: datetime, zone: ZoneInfo) -> datetime:
    """Return the moment, in UTC, that *text* says: a span from *now*, or a time in *zone* unless it has an offset.

    A time without a day is the next one. A time that clocks leave out is as much later; of a doubled one the first.

    Raises:
        PauseEndError: It says no moment, or one that is not after *now*.
    """
    text = text.strip()
    try:
        moment = _read(text, now, zone)
    except (DurationError, ValueError, OverflowError):
        raise PauseEndError(text, "is neither a duration nor a time", str(zone)) from None
    if moment <= now:
        raise PauseEndError(text, "is in the past", str(zone))
    return moment


def _read(text: str, now: datetime, zone: ZoneInfo) -> datetime:
    if NUMBER.fullmatch(text):
        # Seconds, an hour or a year: whoever wrote it meant one of them.
        raise ValueError(text)
    if CLOCK.fullmatch(text):
        wall = time.fromisoformat(text.zfill(5) if text.count(":") == 1 else text.zfill(8))
        today = now.astimezone(zone).date()
        moment = _instant(datetime.combine(today, wall), zone)
        return moment if moment > now else _instant(datetime.combine(today + DAY, wall), zone)
    try:
        return now + parse_duration(text)
    except DurationError:
        moment = datetime.fromisoformat(text)
    return _instant(moment, zone) if moment.tzinfo is None else moment.astimezone(UTC)


def _instant(wall: datetime, zone: ZoneInfo) -> datetime:
    return to_instant(wall, offsets(wall, zone)[0])


def subject(name: str) -> str:
    """Return a pause's name as the beginning of a sentence."""
    return "all jobs are" if name == EVERYTHING else f"{render.printable(name)} is"


def end_words(until: datetime | None, now: datetime, zone: ZoneInfo) -> str:
    """Return until when a pause holds: ``until 2030-12-01 08:00 Europe/Berlin (in 6d 23h)``."""
    if until is None:
        return "until resumed"
    local = until.astimezone(zone)
    clock = local.strftime("%Y-%m-%d %H:%M:%S").removesuffix(":00")
    return f"until {clock} {zone} ({render.ago(until, now)})"


def sentence(pause: Pause, now: datetime, zone: ZoneInfo) -> str:
    """Return what a pause says, with its note."""
    note = f": {render.printable(pause.note)}" if pause.note else ""
    return f"{subject(pause.name)} paused {end_words(pause.until, now, zone)}{note}"


def dump(pause: Pause) -> dict[str, Any]:
    """Return a pause as JSON-ready data; ``job`` is null for all jobs, ``until`` for one without an end."""
    return {"job": None if pause.name == EVERYTHING else pause.name, **dump_pause(pause)}


@click.command("pause", cls=Command)
@click.argument("job", type=JobName(), required=False)
@click.option("--until", metavar="WHEN", help="How long (2h, 90m) or until when (18:00, '2030-12-01 08:00').")
@click.option("--note", metavar="TEXT", default="", help="Why, for whoever wonders.")
@click.option("--json", "as_json", is_flag=True, help="The pause as JSON; instants are ISO 8601 in UTC.")
@click.pass_context
def command(ctx: click.Context, job: str | None, until: str | None, note: str, as_json: bool) -> None:
    """Pause a job, or all jobs, for a while or until resumed.

    What falls due meanwhile is recorded as skipped (paused) and not made up for; runs in progress go on. Times are in
    the app's legion_timezone. A pause replaces an earlier one of the same job.

    \b
    Examples: celery -A shop legion pause backup --until 18:00 --note moving
              celery -A shop legion pause --until 2h
    """
    context = open_context(ctx)
    zone = get_zone(context.config.timezone)
    now = context.clock.now()
    end = None if until is None else parse_end(until, now, zone)
    name = EVERYTHING if job is None else context.registry.get(job).name
    # Bytes of a shell that are no UTF-8 arrive as halves of surrogate pairs, which no store can keep.
    words = note.encode("utf-8", "backslashreplace").decode()
    pause = Pause(name=name, since=now, until=end, note=words)
    context.store.pause(pause)
    if as_json:
        render.write_json(dump(pause))
        return
    say(sentence(pause, now, zone))
    say("fires meanwhile are recorded as skipped (paused); runs in progress go on")
    if end is None:
        target = "" if job is None else f" {shlex.quote(render.printable(name))}"
        say(f"`celery legion resume{target}` lifts it")
