"""The street is whole: every environment is pinned, and the oldest is what ``pyproject.toml`` allows."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.neighbours import environments
from tests.neighbours.__main__ import line, summary
from tests.neighbours.street import NEIGHBOURS, Finding
from tests.servers.processes import ROOT


def pins(name: str) -> dict[str, str]:
    lines = (environments.PINS / f"{name}.txt").read_text().splitlines()
    return dict(re.fullmatch(r"([\w.-]+)==([\w.]+)", one).groups() for one in lines if not one.startswith("#"))  # type: ignore[union-attr]


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", environments.names())
def test_every_environment_has_exact_pins_of_what_we_need_and_somebody_lives_in_it(name: str) -> None:
    assert {"celery", "kombu", "redis"} <= set(pins(name))
    assert name in {one.environment for one in NEIGHBOURS}


def test_every_neighbour_has_an_environment_and_a_name_of_its_own() -> None:
    assert {one.environment for one in NEIGHBOURS} <= set(environments.names())
    assert len({one.name for one in NEIGHBOURS}) == len(NEIGHBOURS)


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {plain(name): version for name, version in pins("oldest").items()}
    bounds = {
        plain(found[1]): found[2]
        for one in (*project["dependencies"], *project["optional-dependencies"]["embedded"])
        if (found := re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", one))
    }
    assert len(bounds) >= 9
    # A bound of 8.1 is met by 8.1.2 where Celery itself wants that.
    assert {name: f"{pinned[name]}.".startswith(f"{bound}.") for name, bound in bounds.items()} == dict.fromkeys(
        bounds, True
    )


def test_what_was_found_is_a_line_each_and_one_for_all() -> None:
    right = Finding(name="flower", wrong=[], notes=["1 worker"], seconds=20.4)
    wrong = Finding(name="ddtrace", wrong=["a retry lost its run", "no spans"], notes=[], seconds=31)
    absent = Finding(name="tenants", wrong=[], notes=[], seconds=0, absent="there is no PostgreSQL")

    assert line(right) == "right    flower                     20 s  1 worker"
    assert line(wrong).splitlines()[1:] == ["         - a retry lost its run", "         - no spans"]
    assert line(absent).split() == ["left", "out", "tenants", "0", "s", "there", "is", "no", "PostgreSQL"]
    assert summary([right], 90) == "1 visits in 1.5 minutes: nothing is wrong"
    assert summary([right, wrong, absent], 90) == (
        "3 visits in 1.5 minutes: wrong beside 1: ddtrace; left out: tenants"
    )
