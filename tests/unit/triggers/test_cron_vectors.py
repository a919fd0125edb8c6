"""Published facts about cron expressions, each with its source."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from celery_legion.triggers import Cron, TriggerError

VECTORS = json.loads((Path(__file__).parents[2] / "data" / "cron_vectors.json").read_text())["vectors"]
WITH_LITERAL = [vector for vector in VECTORS if vector.get("alt_literal")]


def name(vector: dict) -> str:
    return f"{vector['id']} {vector['expr']} {vector.get('tz', '')}".strip()


def moment(text: str) -> datetime:
    read = datetime.fromisoformat(text)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def build(vector: dict, **more: str) -> Cron:
    # A vector without "dom_dow" comes from a library that reads two restricted day fields as OR.
    options = {"days": vector.get("dom_dow", "or"), "seconds": vector.get("seconds", "last"), **more}
    return Cron(vector["expr"], vector.get("tz", "UTC"), **options)


def fires(cron: Cron, start: str, count: int) -> list[datetime]:
    found, latest = [], moment(start)
    for _ in range(count):
        fire = cron.next_after(latest)
        assert fire is not None and fire > latest and fire.tzinfo is UTC
        found.append(fire)
        latest = fire
    return found


def test_the_file_holds_all_vectors() -> None:
    assert len(VECTORS) == 574
    assert all({"expect", "not_expect", "error"} & vector.keys() for vector in VECTORS)


@pytest.mark.parametrize("vector", VECTORS, ids=name)
def test_a_vector_holds(vector: dict) -> None:
    if "error" in vector:
        with pytest.raises(TriggerError):
            build(vector)
    elif "expect" in vector:
        assert fires(build(vector), vector["start"], len(vector["expect"])) == [moment(at) for at in vector["expect"]]
    else:
        assert fires(build(vector), vector["start"], 1)[0] not in [moment(at) for at in vector["not_expect"]]


@pytest.mark.parametrize("vector", WITH_LITERAL, ids=name)
def test_the_literal_reading_holds_where_the_rule_is_turned_off(vector: dict) -> None:
    expected = [moment(at) for at in vector["alt_literal"]]
    assert fires(build(vector, dst="literal"), vector["start"], len(expected)) == expected
