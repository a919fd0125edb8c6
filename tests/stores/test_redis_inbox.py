"""The inbox of the Redis store as other programs fill it: bytes in a list, by plain commands."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest

from celery_legion.stores.base import Request, SchedulerInfo
from tests.stores.inbox import Inbox, pulse

LONG = timedelta(hours=1)
INFO = SchedulerInfo(app="shop", fingerprint="print", host="alpha", pid=1)
NEW_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
BARE = b'{"job":"report"}'
MEGABYTE = 1024 * 1024


def test_the_same_json_twice_without_an_id_is_two_requests_with_ids_of_their_own(inbox: Inbox) -> None:
    inbox.push(BARE, BARE)
    first, second = inbox.read()

    assert first.id != second.id
    assert all(NEW_ID.fullmatch(request.id) for request in (first, second))
    assert first.body == second.body == BARE.decode()


def test_the_ids_stay_however_often_and_by_whomever_they_are_read(inbox: Inbox) -> None:
    inbox.push(BARE, b"no json", BARE)
    found = inbox.read()
    other = inbox.another()

    assert inbox.read() == found
    assert inbox.store.requests(2) == found[:2]
    assert other.requests(10) == found
    assert pulse(inbox.store, "beat-1") == found
    assert pulse(other, "beat-2") == []
    inbox.store.resign("beat-1")
    assert pulse(other, "beat-2") == found


def test_a_pulse_gives_ids_as_well(inbox: Inbox) -> None:
    inbox.push(BARE, BARE)
    found = pulse(inbox.store, "beat-1")

    assert len({request.id for request in found}) == 2
    assert inbox.read() == found


def test_requests_beyond_the_limit_are_left_as_they_were_pushed(inbox: Inbox) -> None:
    inbox.push(b'{"n":1}', b'{"n":2}', b'{"n":3}')
    first = inbox.store.requests(1)

    assert [request.body for request in first] == ['{"n":1}']
    assert inbox.lies()[1:] == [b'{"n":2}', b'{"n":3}']
    assert [request.body for request in inbox.read()] == ['{"n":1}', '{"n":2}', '{"n":3}']
    assert inbox.read()[0] == first[0]


def test_what_comes_between_two_readings_moves_no_id_to_another(inbox: Inbox) -> None:
    inbox.push(b'{"n":1}', b'{"n":2}')
    first = inbox.read()
    inbox.push(b'{"n":3}')
    inbox.store.push(Request(id="p4", body='{"n":4}'))
    inbox.store.ack([first[0].id])

    found = inbox.read()

    assert found[0] == first[1]
    assert [request.body for request in found] == ['{"n":2}', '{"n":3}', '{"n":4}']
    assert found[2].id == "p4"


def test_the_same_json_pushed_again_after_it_was_handled_is_a_new_request(inbox: Inbox) -> None:
    ids = set()
    for _ in range(3):
        inbox.push(BARE)
        ids.add(inbox.only().id)
        inbox.store.ack([inbox.only().id])

    assert len(ids) == 3


def test_two_apps_on_one_server_give_different_ids(inbox: Inbox, redis_url: str) -> None:
    other = Inbox(redis_url)
    inbox.push(BARE)
    other.push(BARE)

    assert inbox.only().id != other.only().id
    other.close()


@pytest.mark.parametrize("run_id", ["p1", "0", "A-b_c.d:e", "x" * 128, "0b7c1f0e-52a5-4f0e-9d53-1c1f0c1a2b3d"])
def test_an_id_in_the_json_is_the_requests_id(inbox: Inbox, run_id: str) -> None:
    text = json.dumps({"job": "report", "id": run_id})
    inbox.push(text.encode())

    assert inbox.only() == Request(id=run_id, body=text)
    assert inbox.only() == Request(id=run_id, body=text)


@pytest.mark.parametrize(
    "text", [' {"id":"p1"}', '\n{\n  "id": "p1"\n}\n', '{"id":"\\u00701"}', '{"id":"p0","id":"p1"}']
)
def test_an_id_is_found_however_the_json_is_written(inbox: Inbox, text: str) -> None:
    inbox.push(text.encode())

    assert inbox.only() == Request(id="p1", body=text)


WRONG_IDS: list[object] = ["", " ", "two words", " p1", "p1\n", "p1\x00", "tab\t", "a/b", "{p1}", "*", "ß"]
WRONG_IDS += ["x" * 129, "x" * 200, 7, 1.5, True, None, {}, {"id": "p1"}, [], ["p1"]]


@pytest.mark.parametrize("run_id", WRONG_IDS, ids=lambda run_id: repr(run_id)[:16])
def test_an_id_of_a_wrong_shape_is_replaced_and_left_in_the_body(inbox: Inbox, run_id: object) -> None:
    text = json.dumps({"job": "report", "id": run_id})
    inbox.push(text.encode())
    found = inbox.only()

    assert NEW_ID.fullmatch(found.id)
    assert found.body == text
    assert inbox.only() == found


# Bodies


BODIES = ["", " ", "\n", "{", "}", '{"job":"report"', "nonsense", "null", "true", "7", '"p1"', '["p1"]', "[]", "{}"]
BODIES += ["\ufeff{}", '{"id":"p1"}trailing', "{'id':'p1'}", '{"n":1e999,"m":123456789012345678901}']
BODIES += ["\x00", '\x00{"id":"p1"}', '{"note":"\x00"}', '{"note":"\\u0000"}']
DEEP = ["[" * 5000 + "]" * 5000, "[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000]


@pytest.mark.parametrize("body", BODIES + DEEP, ids=lambda body: repr(body[:20]))
def test_a_body_is_read_as_it_was_pushed_whatever_it_is(inbox: Inbox, body: str) -> None:
    inbox.push(body.encode(), b'{"id":"next"}')
    found, following = inbox.read()

    assert NEW_ID.fullmatch(found.id)
    assert found.body == body
    assert following.id == "next"
    assert inbox.read() == [found, following]


def test_text_with_a_word_in_front_is_read_whole(inbox: Inbox) -> None:
    inbox.push(b'p1 {"job":"report"}', b"not json", b"p3 ")

    assert [request.body for request in inbox.read()] == ['p1 {"job":"report"}', "not json", "p3 "]


def test_a_megabyte_is_read_whole(inbox: Inbox) -> None:
    texts = ["x" * MEGABYTE, json.dumps({"id": "p1", "args": ["ß" * (MEGABYTE // 2)]}, ensure_ascii=False)]
    inbox.push(*(text.encode() for text in texts), b"\xff" * MEGABYTE)
    plain, valid = inbox.read()
    inbox.store.ack([plain.id, valid.id])
    broken = inbox.only()

    assert (plain.body, valid.id, valid.body) == (texts[0], "p1", texts[1])
    assert broken.body == "?" * MEGABYTE


@pytest.mark.parametrize("letter", ["\x7f", "\x80", "ß", "\u07ff", "\u0800", "\ud7ff", "\ue000", "日", "\uffff"])
@pytest.mark.parametrize("count", [1, 3])
def test_characters_of_two_and_three_bytes_are_unharmed(inbox: Inbox, letter: str, count: int) -> None:
    inbox.push(f'{{"id":"p1","args":["{letter * count}"]}}'.encode())

    assert inbox.only() == Request(id="p1", body=f'{{"id":"p1","args":["{letter * count}"]}}')


@pytest.mark.parametrize("text", ["\U00010000", "🜁", "\U0010ffff", "aß日🜁z", "🜁日ßa", "🜁🜁", "日ß日ß"])
def test_characters_of_four_bytes_are_unharmed_also_beside_others(inbox: Inbox, text: str) -> None:
    inbox.push(text.encode())

    assert inbox.only().body == text


WRONG = {
    "a lone continuation": b"\x80",
    "the last continuation": b"\xbf",
    "a continuation too many": b"\xc3\x9f\x80",
    "overlong of one byte": b"\xc0\x80",
    "overlong of one byte, the last": b"\xc1\xbf",
    "overlong of two bytes": b"\xe0\x80\x80",
    "overlong of two bytes, the last": b"\xe0\x9f\xbf",
    "overlong of three bytes": b"\xf0\x80\x80\x80",
    "overlong of three bytes, the last": b"\xf0\x8f\xbf\xbf",
    "the first surrogate half": b"\xed\xa0\x80",
    "the last surrogate half": b"\xed\xbf\xbf",
    "a pair of surrogate halves": b"\xed\xa0\xbd\xed\xb8\x80",
    "beyond the last character": b"\xf4\x90\x80\x80",
    "far beyond the last character": b"\xf5\x80\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "no byte of any character": b"\xfe\xff",
    "cut after one of two": b"\xc3",
    "cut after one of three": b"\xe6",
    "cut after two of three": b"\xe6\x97",
    "cut after one of four": b"\xf0",
    "cut after three of four": b"\xf0\x9f\x9c",
    "cut before ASCII": b"\xe6\x97x",
    "cut before another": b"\xe6\x97\xc3\x9f",
    "another within": b"\xe6\xc3\x9f\x97\xa5",
    "one that closes up around another": b"\xe2\xc3\xa9\x82\xac",
    "another encoding": "naïve".encode("latin-1"),
    "two bytes a character": "日本".encode("utf-16"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("frame", [b"%s", b'{"id":"p1","args":["%s"]}', "ß %s 🜁".encode()])
def test_where_bytes_are_no_utf8_each_beyond_ascii_is_a_question_mark(inbox: Inbox, wrong: bytes, frame: bytes) -> None:
    text = frame % wrong
    with pytest.raises(UnicodeDecodeError):
        text.decode()
    inbox.push(text, '"ß 🜁"'.encode())
    found, following = inbox.read()

    assert found.body == "".join(chr(byte) if byte < 128 else "?" for byte in text)
    assert following.body == '"ß 🜁"'
    assert (found.id == "p1") is frame.startswith(b"{")
    assert inbox.read() == [found, following]


def test_every_pair_and_every_lead_of_bytes_is_read_as_python_reads_it(inbox: Inbox) -> None:
    edges = [0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF]
    leads = [0x41, 0x80, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF]
    texts = [
        b'"' + bytes((lead, *rest))
        for lead in leads
        for a in edges
        for b in edges
        for rest in ((a,), (a, b), (a, b, a), (a, b, b))
    ]
    inbox.push(*texts)
    found = [request.body for request in inbox.store.requests(len(texts))]

    assert found == [readable(text) for text in texts]


def readable(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte < 128 else "?" for byte in text)


def test_bytes_that_are_no_utf8_where_an_id_would_be_are_read_too(inbox: Inbox) -> None:
    inbox.push(b"\xff\xfe {}", b"p1 \xff", '{"id":"\udcff"}'.encode("utf-8", "surrogateescape"))
    first, second, third = inbox.read()

    assert NEW_ID.fullmatch(first.id)
    assert first.body == "?? {}"
    assert second.body == "p1 ?"
    assert NEW_ID.fullmatch(third.id)
    assert third.body == '{"id":"?"}'
