"""The quickest scenarios, as part of the suite; ``make faults`` runs them all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from celery_legion.embedded import NoServerError, find_server
from tests.conftest import missing
from tests.faults import scenario
from tests.faults.scenarios import SCENARIOS
from tests.servers.patience import patient

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def row_of(name: str, folder: Path) -> dict[str, Any]:
    try:
        find_server()
    except NoServerError as exc:
        missing(str(exc))
    chosen = next(one for one in SCENARIOS if one.name == name)
    row = scenario.run(chosen, seed=1, full=False, folder=folder)
    print(json.dumps(row))
    return row


def test_leaders_that_are_killed_paused_and_ended_at_every_stage_break_nothing(tmp_path: Path) -> None:
    row = row_of("quick", tmp_path)

    assert row["breaches"] == 0, row["witnesses"]
    assert (row["kills"], row["pauses"], row["terms"]) == (5, 6, 2)
    assert row["copies"] > 0
    assert row["takeover_s"]["after_kill"]["max"] <= patient(3.0)
    assert row["takeover_s"]["after_term"]["max"] <= patient(0.5)


def test_pushes_whose_answers_are_lost_run_once(tmp_path: Path) -> None:
    row = row_of("pushes", tmp_path)

    assert row["breaches"] == 0, row["witnesses"]
    assert row["answers_lost"] > 100


def test_networks_that_break_for_a_moment_lose_and_double_nothing(tmp_path: Path) -> None:
    row = row_of("quick-cuts", tmp_path)

    assert row["breaches"] == 0, row["witnesses"]
    assert row["cuts"] == 4
