"""Which broker is tried next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from celery_legion.engine.servers import Servers, place_of


def servers(broker: Any, **settings: Any) -> Servers:
    app = Celery("shop", broker=broker, set_as_current=False)
    app.conf.update(settings)
    return Servers(app)


def tried(made: Servers, count: int) -> list[str]:
    names = []
    for _ in range(count):
        names.append(made.name)
        made.turn()
    return names


@pytest.mark.parametrize(
    "broker", ["redis://a/0;redis://b/0", ["redis://a/0", "redis://b/0"], "redis://a/0; redis://b/0;"]
)
def test_alternates_are_tried_in_turn(broker: Any) -> None:
    made = servers(broker)

    assert made.count == 2
    assert tried(made, 5) == ["redis://a/0", "redis://b/0", "redis://a/0", "redis://b/0", "redis://a/0"]


def test_a_semicolon_at_the_end_names_no_other_server() -> None:
    made = servers("redis://a/0;")

    assert (made.count, made.replaceable, made.name) == (1, False, "redis://a/0")
    assert place_of(Celery(broker="redis://a/0;", set_as_current=False)) == "queue celery at redis://a/0"


def once(urls: list[str]) -> Iterator[str]:
    """Each server, and then no more."""
    return iter(urls)


def backwards(urls: list[str]) -> Iterator[str]:
    return iter(urls[::-1])


def test_a_strategy_that_comes_to_an_end_is_begun_again() -> None:
    both = "redis://a/0;redis://b/0"

    assert tried(servers(both, broker_failover_strategy=once), 5) == ["redis://a/0", "redis://b/0"] * 2 + [
        "redis://a/0"
    ]
    assert set(tried(servers(both, broker_failover_strategy=backwards), 5)) == {"redis://a/0", "redis://b/0"}


def test_the_apps_own_strategy_is_kept() -> None:
    made = servers(["redis://a/0", "redis://b/0", "redis://c/0"], broker_failover_strategy="shuffle")

    assert set(tried(made, 200)) == {"redis://a/0", "redis://b/0", "redis://c/0"}
