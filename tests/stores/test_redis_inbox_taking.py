"""Taking pushes out of a Redis inbox: acknowledged, or put aside."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest

from celery_legion.stores.base import SchedulerInfo, Store
from celery_legion.stores.data import ASIDE_LIMIT, BODY_KEPT
from tests.stores.inbox import AWAY, Inbox, pulse

LONG = timedelta(hours=1)
INFO = SchedulerInfo(app="shop", fingerprint="print", host="alpha", pid=1)
NEW_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
BARE = b'{"job":"report"}'
MEGABYTE = 1024 * 1024


ODD = [BARE, b"", b" ", b"no json", b'{"id":"p1"}', b'{"id":"two words"}', b"\x00", b"\xff\x00\xfe", "ß 🜁".encode()]
ODD += [b"[" * 5000, b"x" * MEGABYTE, b"\xff" * MEGABYTE, b'{"id":"p1","args":["\xe6\x97"]}']


@AWAY
@pytest.mark.parametrize("text", ODD, ids=lambda text: repr(text[:16]))
def test_whatever_was_pushed_can_be_taken_out(
    inbox: Inbox, text: bytes, take_out: Callable[[Store, str], None]
) -> None:
    inbox.push(b'{"id":"before"}', text, b'{"id":"after"}')
    found = inbox.read()
    take_out(inbox.store, found[1].id)

    assert inbox.lies() == [b'before\x1f{"id":"before"}', b'after\x1f{"id":"after"}']
    assert inbox.read() == [found[0], found[2]]


@AWAY
def test_of_two_alike_the_one_that_is_meant_is_taken_out(inbox: Inbox, take_out: Callable[[Store, str], None]) -> None:
    inbox.push(BARE, BARE, BARE)
    first, second, third = inbox.read()
    take_out(inbox.store, second.id)

    assert inbox.read() == [first, third]


@AWAY
def test_a_take_over_takes_out_what_the_last_leader_read(inbox: Inbox, take_out: Callable[[Store, str], None]) -> None:
    inbox.push(BARE, b"\xff", b"")
    pulse(inbox.store, "beat-1")
    inbox.store.resign("beat-1")
    other = inbox.another()
    for request in pulse(other, "beat-2"):
        take_out(other, request.id)

    assert inbox.lies() == []


def test_what_another_has_taken_out_meanwhile_cannot_be_put_aside(inbox: Inbox) -> None:
    inbox.push(BARE, BARE)
    run_id = inbox.read()[0].id
    other = inbox.another()
    other.requests(10)
    other.ack([run_id])

    assert inbox.store.put_aside(run_id, "bad") is False
    assert inbox.store.asides(10) == []
    assert len(inbox.lies()) == 1


def test_the_same_id_in_two_texts_is_taken_out_whole(inbox: Inbox) -> None:
    inbox.push(b'{"id":"p1"}', b'{"id":"p1","args":[1]}', b'{"id":"p1"}')
    inbox.read()
    inbox.store.ack(["p1"])

    assert inbox.lies() == []


def test_put_aside_keeps_what_can_be_read_of_it(inbox: Inbox) -> None:
    inbox.push(b'{"job":"\xff\x00","note":"' + "ß".encode() + b'"}')
    found = inbox.only()
    inbox.store.put_aside(found.id, "no job of that name")

    (aside,) = inbox.another().asides(10)
    assert (aside.request, aside.why) == (found, "no job of that name")
    assert aside.request.body == '{"job":"?\x00","note":"??"}'


def test_of_a_megabyte_the_first_characters_are_kept(inbox: Inbox) -> None:
    inbox.push("日".encode() * (MEGABYTE // 3))
    inbox.store.put_aside(inbox.only().id, "too long")

    (aside,) = inbox.store.asides(10)
    assert aside.request.body == "日" * BODY_KEPT


def test_the_newest_that_were_put_aside_are_kept(inbox: Inbox) -> None:
    inbox.push(*[b"%d" % number for number in range(ASIDE_LIMIT + 5)])
    for request in inbox.read():
        inbox.store.put_aside(request.id, "bad")

    found = inbox.store.asides(10 * ASIDE_LIMIT)
    assert [int(aside.request.body) for aside in found] == list(range(ASIDE_LIMIT + 4, 4, -1))
    assert inbox.lies() == []


def test_what_is_longer_than_any_push_is_put_aside_unread_and_holds_nothing_up(inbox: Inbox) -> None:
    inbox.push(b'{"job": "x", "args": ["' + b"y" * 2_000_000 + b'"]}', b'{"id": "p1", "job": "x"}')
    assert inbox.only().id == "p1"
    [aside] = inbox.store.asides(10)
    assert aside.why.startswith("it has 2000026 bytes")
    assert aside.request.body.startswith('{"job": "x", "args": ["yyy')
    assert len(inbox.lies()) == 1


def test_a_reading_ends_after_two_million_bytes_and_goes_on_there(inbox: Inbox) -> None:
    inbox.push(*(b'{"id": "p%d", "job": "%s"}' % (number, b"x" * 400_000) for number in range(12)))
    seen: list[str] = []
    while requests := inbox.read():
        assert len(requests) <= 5
        seen += [request.id for request in requests]
        inbox.store.ack([request.id for request in requests])
    assert seen == [f"p{number}" for number in range(12)]
