"""Store conformance: each verb is one atomic act, whoever calls it at the same time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import TypeVar

from celery_legion.stores.base import Admission, Granted, Store
from celery_legion.testing.conformance_case import (
    KEEP,
    SUCCESS,
    Case,
    dispatch,
    fire,
    grant,
    holders,
    know,
    lead,
    run,
    ticket,
)

T = TypeVar("T")
CROWD = 8


def at_once(act: Callable[[int], T]) -> list[T]:
    """Return what *act* gives to each of a crowd that calls it at the same time."""
    gate = Barrier(CROWD)

    def call(number: int) -> T:
        gate.wait(10)
        return act(number)

    with ThreadPoolExecutor(CROWD) as pool:
        return list(pool.map(call, range(CROWD)))


class CrowdConformance(Case):
    """Several callers in one moment."""

    def test_one_of_many_schedulers_leads(self, store: Store) -> None:
        epochs = at_once(lambda number: lead(store, f"beat-{number}").epoch)
        assert epochs.count(None) == CROWD - 1

    def test_one_of_many_schedulers_gets_a_fire(self, store: Store) -> None:
        know(store)
        verdicts = at_once(lambda number: grant(store, fire(), owner=f"beat-{number}")[0])
        assert sorted(verdicts) == [Granted.RUN, *[Granted.STALE] * (CROWD - 1)]

    def test_a_lock_goes_to_as_many_as_it_lets(self, store: Store) -> None:
        names = [f"job{number}" for number in range(CROWD)]
        know(store, *names)
        claims = [replace(fire(1, name), lock="shared", limit=3) for name in names]
        verdicts = at_once(lambda number: grant(store, claims[number])[0])
        assert verdicts.count(Granted.RUN) == len(holders(store, "shared")) == 3

    def test_one_of_many_deliveries_begins(self, store: Store) -> None:
        know(store)
        dispatch(store, fire())
        answers = at_once(lambda number: store.begin(ticket(fire(), f"delivery-{number}")).admission)
        assert sorted(answers) == [Admission.GO, *[Admission.WAIT] * (CROWD - 1)]

    def test_one_of_many_ends_wins(self, store: Store) -> None:
        know(store)
        token = run(store, fire())
        assert sorted(at_once(lambda number: store.end("job-1", token, SUCCESS, KEEP))) == [False] * (CROWD - 1) + [
            True
        ]

    def test_no_change_is_lost(self, store: Store) -> None:
        versions = at_once(lambda number: store.put(f"job{number}", "{}"))
        assert len(set(versions)) == len(store.definitions()) == CROWD
