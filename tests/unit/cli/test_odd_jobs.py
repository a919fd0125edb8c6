"""Jobs that cannot fire, end, or are asked: each command shows them with what is the matter, and the others too."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import jsonschema
import pytest
from celery import Celery
from celery.bin.base import CLIContext
from celery.schedules import BaseSchedule
from click.testing import CliRunner, Result

from celery_legion import Legion
from celery_legion.cli import listing, showing, trying
from celery_legion.stores.memory import MemoryStore
from tests.acceptance.schemas import JOBS

NAMES = ("asked", "ends", "failing", "good", "mute", "slip")


class Asked(BaseSchedule):
    """Whoever asks it for a list would change it."""

    def is_due(self, last_run_at: datetime) -> Any:
        raise AssertionError("a command has asked")

    remaining_estimate = is_due


class Ends:
    """A trigger without a fire left."""

    def next_after(self, moment: datetime) -> datetime | None:
        return None

    def anchored(self, moment: datetime) -> Ends:
        return self


class Failing(Ends):
    """A trigger that fails when it is asked."""

    def next_after(self, moment: datetime) -> datetime | None:
        raise KeyError("summer")


class Mute(Ends):
    """A trigger that cannot even be shown."""

    def anchored(self, moment: datetime) -> Mute:
        raise RuntimeError("no anchor")

    def __repr__(self) -> str:
        raise ValueError("no words")


@pytest.fixture
def legion() -> Legion:
    app = Celery("shop", broker="redis://localhost:6379/0", set_as_current=False)
    app.conf.update(legion_store_url="memory://odd", result_expires=None, timezone="UTC")
    app.conf.beat_schedule = {
        "asked": {"task": "t", "schedule": Asked()},
        "good": {"task": "t", "schedule": 60},
        "slip": {"task": "t", "schedule": 60, "args": 16},
    }
    made = Legion(app)
    for name, trigger in (("ends", Ends()), ("failing", Failing()), ("mute", Mute())):
        made.task("t").name(name).trigger(trigger)
    store = MemoryStore()
    made.context.use_store(store)
    store.sight(dict.fromkeys(NAMES, "print"), store.now())
    return made


def call(legion: Legion, command: Any, *args: str) -> Result:
    return CliRunner().invoke(command, args, obj=CLIContext(app=legion.context.app, no_color=True, workdir=None))


@pytest.mark.parametrize("options", [(), ("--verbose",), ("--next",)])
def test_the_list_has_them_all(legion: Legion, options: tuple[str, ...]) -> None:
    result = call(legion, listing.command, *options)

    assert result.exit_code == 0, result.output
    rows = (line for line in reversed(result.output.splitlines()) if line.strip() and " does not fire: " not in line)
    lines = {line.split()[0]: line for line in rows}
    assert "slip does not fire: its beat_schedule entry has args 16" in result.output
    assert set(NAMES) <= set(lines)
    assert "not known" in lines["asked"] and "Asked says so" in lines["asked"]
    assert "never" in lines["ends"] and "every minute" in lines["good"]
    assert all("broken" in lines[name] for name in ("failing", "mute", "slip"))


def test_the_list_for_programs_has_each_problem(legion: Legion) -> None:
    result = call(legion, listing.command, "--json")

    found = json.loads(result.output)
    jsonschema.validate(found, JOBS)
    problems = {job["name"]: job["problem"] for job in found}
    assert problems.pop("slip").endswith("write (16,) with a comma for one argument")
    assert problems == {
        "asked": None,
        "ends": None,
        "failing": "KeyError: 'summer'",
        "good": None,
        "mute": "RuntimeError: no anchor",
    }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("asked", "decides when it is asked"),
        ("ends", "its schedule has no fire left"),
        ("failing", "it does not fire: KeyError"),
        ("good", "next"),
        ("mute", "it does not fire: RuntimeError"),
        ("slip", "it does not fire: its beat_schedule entry has args 16"),
    ],
)
def test_each_can_be_shown(legion: Legion, name: str, words: str) -> None:
    result = call(legion, showing.command, name)

    assert result.exit_code == 0, result.output
    assert words in result.output
    assert call(legion, showing.command, name, "--json").exit_code == 0


def test_a_job_that_is_written_wrongly_is_not_tried(legion: Legion) -> None:
    tried = call(legion, trying.command, "slip")

    assert tried.exit_code == 2
    assert "args 16" in tried.output
