"""The tail of a stream: whatever comes, what is kept and what is said to be left out are all of it."""

from __future__ import annotations

import logging
import re
import threading

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from celery_legion.worker.output import Output, Tail

NOTE = re.compile(r"\A\[(\d+) bytes before this are in the log\]\n")
CHUNKS = st.lists(
    st.binary(max_size=20)
    | st.text(max_size=8).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.sampled_from([b"", b"\0", b"\xe6", b"\x97\xa5", b"\xf0\x9f", b"\x98\x80", b"\xff", "日本語".encode(), b"\n"]),
    max_size=30,
)


def parts(tail: Tail) -> tuple[int, str]:
    """Return how many bytes are left out, and the text that is kept."""
    text = tail.text() or ""
    found = NOTE.match(text)
    return (int(found[1]), text[found.end() :]) if found else (0, text)


def fed(limit: int, *chunks: bytes, closed: bool = True) -> Tail:
    tail = Tail(limit)
    for chunk in chunks:
        tail.feed(chunk)
    if closed:
        tail.close()
    return tail


def whole(*chunks: bytes) -> str:
    """Return all that a reader of the text should see."""
    return b"".join(chunks).decode("utf-8", "backslashreplace").replace("\0", "\N{REPLACEMENT CHARACTER}")


class TestCharacters:
    """Characters of several bytes, however they come."""

    @pytest.mark.parametrize("text", ["日本語", "ß", "😀x😀", "aß日😀z"])
    @pytest.mark.parametrize("size", [1, 2, 3, 5])
    def test_one_that_is_split_across_feeds_is_whole(self, text: str, size: int) -> None:
        data = text.encode()
        tail = fed(100, *(data[start : start + size] for start in range(0, len(data), size)))
        assert tail.text() == text

    def test_one_that_is_not_yet_complete_is_shown_when_it_is(self) -> None:
        tail = fed(100, b"a", b"\xe6\x97", closed=False)
        assert tail.text() == "a"
        tail.feed(b"\xa5")
        assert tail.text() == "a日"

    def test_one_that_is_never_completed_is_escaped(self) -> None:
        assert fed(100, b"a\xe6\x97").text() == "a\\xe6\\x97"
        assert fed(100, b"a\xe6\x97", b"b").text() == "a\\xe6\\x97b"
        assert fed(100, b"\xe6", "日".encode()).text() == "\\xe6日"

    def test_the_first_bytes_of_one_alone_are_nothing_yet(self) -> None:
        tail = fed(100, b"\xe6", closed=False)
        assert tail.text() is None
        tail.close()
        assert tail.text() == "\\xe6"

    @pytest.mark.parametrize("limit", range(3, 12))
    def test_one_at_the_cut_is_left_out_as_a_whole_and_counted(self, limit: int) -> None:
        count, text = parts(fed(limit, "日本語".encode()))
        assert text == "日本語"[3 - min(limit // 3, 3) :]
        assert count == 9 - len(text.encode())

    def test_a_limit_that_no_character_fits_in_leaves_all_out(self) -> None:
        assert parts(fed(2, "日".encode())) == (3, "")


class TestOddBytes:
    """What is no text."""

    def test_nul_is_replaced_and_counted_as_what_it_is_replaced_by(self) -> None:
        assert parts(fed(100, b"a\0b")) == (0, "a\ufffdb")
        assert parts(fed(4, b"\0" * 3)) == (6, "\ufffd")

    def test_what_is_no_utf_8_is_counted_as_it_is_shown(self) -> None:
        assert parts(fed(100, b"\xff\xfe")) == (0, "\\xff\\xfe")
        assert parts(fed(4, b"\xff\xfe")) == (4, "\\xfe")

    def test_ascii_after_odd_bytes_is_as_it_was(self) -> None:
        assert fed(100, b"\xff", b"plain", b"\xe6\x97", b"plain").text() == "\\xffplain\\xe6\\x97plain"

    def test_closing_twice_adds_nothing(self) -> None:
        tail = fed(100, b"\xe6")
        tail.close()
        assert tail.text() == "\\xe6"
        tail.feed("日".encode())
        assert tail.text() == "\\xe6日"


class TestCounting:
    """The first line and what follows are all bytes."""

    @given(CHUNKS, st.integers(1, 60))
    @example([b"0123456789", b"\xe6", b"\x97\xa5"], 4)
    @example(["日".encode() * 5], 7)
    def test_what_is_left_out_and_what_is_kept_are_all_of_it(self, chunks: list[bytes], limit: int) -> None:
        everything = whole(*chunks)
        count, text = parts(fed(limit, *chunks))
        if NOTE.match(everything):
            return  # what was written looks like the note itself
        assert everything.endswith(text)
        assert count + len(text.encode()) == len(everything.encode())
        assert len(text.encode()) <= limit

    @given(CHUNKS, st.integers(1, 60))
    def test_so_it_is_at_each_moment(self, chunks: list[bytes], limit: int) -> None:
        tail, before = Tail(limit), 0
        everything = whole(*chunks)
        for chunk in chunks:
            tail.feed(chunk)
            count, text = parts(tail)
            assert count + len(text.encode()) == tail.total >= before
            # What is shown stays: more only follows.
            assert everything.encode()[count : tail.total] == text.encode() or NOTE.match(everything)
            before = tail.total

    @given(CHUNKS, CHUNKS)
    def test_how_it_is_cut_into_feeds_makes_no_difference(self, one: list[bytes], two: list[bytes]) -> None:
        chunks = one + two
        assert fed(50, *chunks).text() == fed(50, b"".join(chunks)).text()

    @given(CHUNKS)
    def test_what_fits_is_kept_as_it_is(self, chunks: list[bytes]) -> None:
        assert (fed(100_000, *chunks).text() or "") == whole(*chunks)

    @given(CHUNKS)
    def test_its_text_can_go_anywhere(self, chunks: list[bytes]) -> None:
        text = fed(40, *chunks).text()
        if text is not None:
            assert "\0" not in text
            text.encode("utf-8")


def test_a_reader_in_another_thread_always_sees_a_count_that_is_right() -> None:
    tail, wrong, done = Tail(50), [], threading.Event()

    def read() -> None:
        while not done.is_set():
            text = tail.text()
            found = NOTE.match(text or "")
            if found and (int(found[1]) + len((text or "")[found.end() :].encode())) % 10:
                wrong.append(text)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(5_000):
        tail.feed(b"0123456789")
    done.set()
    reader.join()

    assert wrong == []
    assert tail.total == 50_000


def test_a_character_that_one_stream_has_begun_is_not_ended_by_the_other() -> None:
    output = Output(logging.getLogger("celery_legion.job.test-tail"), "test-tail", 1000)
    data = "日".encode()
    output.feed(False, data[:1])
    output.feed(True, b"warning\n")
    output.feed(False, data[1:] + b"\n")
    assert output.close() == "warning\n日\n"
