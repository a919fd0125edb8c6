"""Store conformance: looking into the inbox, and requests that are put aside."""

from __future__ import annotations

import pytest

from celery_legion.stores.base import Request, Store
from celery_legion.stores.data import ASIDE_LIMIT, BODY_KEPT
from celery_legion.testing.conformance_case import BEAT, OTHER, Advancing, Case, lead


def push(store: Store, *ids: str) -> list[Request]:
    """Push requests; returns them."""
    requests = [Request(id=request_id, body=f'{{"id":"{request_id}"}}') for request_id in ids]
    for request in requests:
        store.push(request)
    return requests


def lying(store: Store) -> list[str]:
    """Return the ids that lie in the inbox, oldest first."""
    return [request.id for request in store.requests(1000)]


def put_aside(store: Store, request: Request, why: str = "no job of that name") -> None:
    """Push a request, read it, and put it aside."""
    store.push(request)
    store.requests(1000)
    assert store.put_aside(request.id, why) is True


class RequestsConformance(Case):
    """``requests``."""

    def test_the_inbox_is_shown_oldest_first_and_at_most_limit(self, store: Store) -> None:
        assert store.requests(10) == []
        pushed = push(store, "p1", "p2", "p3")
        assert store.requests(2) == pushed[:2]
        assert store.requests(10) == pushed
        assert store.requests(0) == []

    def test_what_was_looked_at_stays(self, store: Store) -> None:
        pushed = push(store, "p1", "p2")
        assert store.requests(10) == store.requests(10) == pushed
        assert list(lead(store).requests) == pushed

    def test_who_does_not_lead_may_look_and_gets_no_lead(self, store: Store) -> None:
        pushed = push(store, "p1")
        assert store.requests(10) == pushed
        assert store.schedulers() == []
        lead(store, OTHER)
        assert lead(store, BEAT).epoch is None
        assert store.requests(10) == pushed

    def test_what_was_looked_at_can_be_acknowledged(self, store: Store) -> None:
        push(store, "p1", "p2")
        store.requests(10)
        store.ack(["p1"])
        assert lying(store) == ["p2"]
        store.ack(["p2"])
        assert lying(store) == []

    def test_a_look_at_fewer_forgets_nothing_of_what_the_pulse_read(self, store: Store) -> None:
        push(store, "p1", "p2", "p3")
        lead(store)
        store.requests(1)
        store.ack(["p2"])
        assert store.put_aside("p3", "bad") is True
        assert lying(store) == ["p1"]

    def test_a_standbys_pulse_forgets_nothing_of_what_was_read(self, store: Store) -> None:
        lead(store, OTHER)
        push(store, "p1")
        store.requests(10)
        assert lead(store, BEAT).requests == ()
        store.ack(["p1"])
        assert lying(store) == []


class AsideConformance(Case):
    """``put_aside``, ``asides``."""

    def test_what_is_put_aside_leaves_the_inbox_and_is_kept_with_why_and_when(
        self, store: Store, clock: Advancing
    ) -> None:
        first, second, third = push(store, "p1", "p2", "p3")
        clock.advance(self.tick)
        assert store.asides(10) == []
        lead(store)
        before = store.now()
        assert store.put_aside("p2", "no job of that name") is True
        assert store.requests(10) == [first, third]
        (aside,) = store.asides(10)
        assert (aside.request, aside.why) == (second, "no job of that name")
        assert before <= aside.at <= store.now()

    def test_the_newest_come_first_and_at_most_limit(self, store: Store) -> None:
        for number in range(4):
            put_aside(store, Request(id=f"p{number}", body="{}"), f"reason {number}")
        assert [aside.why for aside in store.asides(3)] == ["reason 3", "reason 2", "reason 1"]
        assert [aside.request.id for aside in store.asides(10)] == ["p3", "p2", "p1", "p0"]
        assert store.asides(0) == []

    def test_looking_at_them_changes_nothing(self, store: Store, clock: Advancing) -> None:
        put_aside(store, Request(id="p1", body="{}"))
        found = store.asides(10)
        clock.advance(self.tick)
        assert store.asides(10) == found

    def test_what_is_not_in_the_inbox_cannot_be_put_aside(self, store: Store) -> None:
        assert store.put_aside("nobody", "bad") is False
        push(store, "done", "p1")
        lead(store)
        assert store.put_aside("nobody", "bad") is False
        store.ack(["done"])
        assert store.put_aside("done", "bad") is False
        assert store.put_aside("p1", "bad") is True
        assert store.put_aside("p1", "worse") is False
        assert [aside.why for aside in store.asides(10)] == ["bad"]

    def test_what_nobody_has_read_yet_can_be_put_aside(self, store: Store) -> None:
        push(store, "p1", "p2")
        assert store.put_aside("p1", "bad") is True
        assert lying(store) == ["p2"]
        assert [aside.request.id for aside in store.asides(10)] == ["p1"]

    def test_the_same_id_twice_is_put_aside_whole(self, store: Store) -> None:
        push(store, "p1", "p2", "p1")
        lead(store)
        assert store.put_aside("p1", "bad") is True
        assert lying(store) == ["p2"]
        assert {aside.request.id for aside in store.asides(10)} == {"p1"}

    def test_the_same_id_can_be_pushed_again(self, store: Store) -> None:
        put_aside(store, Request(id="p1", body="bad"))
        pushed = push(store, "p1")
        assert store.requests(10) == pushed
        store.ack(["p1"])
        assert lying(store) == []
        assert [aside.request.body for aside in store.asides(10)] == ["bad"]

    def test_an_acknowledgement_does_not_reach_them(self, store: Store) -> None:
        put_aside(store, Request(id="p1", body="{}"))
        store.ack(["p1"])
        assert [aside.request.id for aside in store.asides(10)] == ["p1"]

    def test_so_many_are_kept_and_no_more(self, store: Store) -> None:
        for number in range(ASIDE_LIMIT + 2):
            put_aside(store, Request(id=f"p{number}", body="{}"))
        found = store.asides(2 * ASIDE_LIMIT)
        assert len(found) == ASIDE_LIMIT
        assert (found[0].request.id, found[-1].request.id) == (f"p{ASIDE_LIMIT + 1}", "p2")

    @pytest.mark.parametrize("letter", ["x", "ß", "日", "🜁"])
    def test_of_a_long_body_the_first_characters_are_kept(self, store: Store, letter: str) -> None:
        put_aside(store, Request(id="p1", body=letter * BODY_KEPT))
        put_aside(store, Request(id="p2", body=letter * BODY_KEPT + "!"))
        put_aside(store, Request(id="p3", body=letter * 100 * BODY_KEPT))
        assert [aside.request.body for aside in store.asides(10)] == [letter * BODY_KEPT] * 3

    @pytest.mark.parametrize(
        "body", ["", " ", " two  spaces ", '{"args":["ß 🜁"]}', "a\nb\r\n", "nul\x00\x1b[0m", "p2 {}"]
    )
    def test_a_body_is_kept_as_it_was_pushed(self, store: Store, body: str) -> None:
        put_aside(store, Request(id="p1", body=body))
        assert [aside.request for aside in store.asides(10)] == [Request(id="p1", body=body)]

    @pytest.mark.parametrize("why", ["", "12 no", 'it says "no" \\', "zwei\nZeilen: ß 🜁", "nul\x00\x1b[0m"])
    def test_a_reason_is_any_text(self, store: Store, why: str) -> None:
        put_aside(store, Request(id="p1", body="{}"), why)
        assert [aside.why for aside in store.asides(10)] == [why]
