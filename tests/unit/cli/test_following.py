"""Following: what is new in a tail, however it has grown, moved on, or begun anew."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st

from celery_legion import Legion
from celery_legion.cli.following import POLL, Follower, follow, write_output
from celery_legion.context import Context
from celery_legion.run import Kind, Reason, Record, State
from celery_legion.stores.base import Outcome
from celery_legion.stores.memory import MemoryStore
from celery_legion.testing.conformance_case import KEEP, SUCCESS, fire, know, run
from celery_legion.worker.output import Tail

MOMENT = datetime(2030, 1, 1, tzinfo=UTC)
RUNNING = Record(
    id="a",
    job="job",
    kind=Kind.MANUAL,
    fire_time=MOMENT,
    last_fire_time=MOMENT,
    state=State.RUNNING,
    attempt=1,
    token=7,
)


def said(*outputs: str | None, token: int = 7) -> list[str]:
    follower = Follower()
    return [follower.news(replace(RUNNING, output=output, token=token)) for output in outputs]


def left_out(count: int, text: str) -> str:
    return f"[{count} bytes before this are in the log]\n{text}"


class TestFollower:
    """What is new at each look."""

    def test_nothing_is_no_news(self) -> None:
        assert said(None, None, "") == ["", "", ""]

    def test_a_tail_that_grows_is_said_piece_by_piece(self) -> None:
        assert said(None, "a", "ab\n", "ab\n", "ab\ncd") == ["", "a", "b\n", "", "cd"]

    def test_a_tail_that_begins_to_move_loses_nothing_that_was_seen_in_time(self) -> None:
        assert said("0123456789", left_out(5, "56789abcde"), left_out(15, "fghij")) == ["0123456789", "abcde", "fghij"]

    def test_what_has_passed_unseen_is_counted(self) -> None:
        assert said("0123456789", left_out(12, "cdef")) == [
            "0123456789",
            "[2 bytes before this are in the log]\ncdef",
        ]
        assert said(left_out(100, "abc")) == ["[100 bytes before this are in the log]\nabc"]
        assert said(left_out(100, "abc"), left_out(101, "bcd"), left_out(110, "xyz")) == [
            "[100 bytes before this are in the log]\nabc",
            "d",
            "[6 bytes before this are in the log]\nxyz",
        ]

    def test_an_earlier_look_that_comes_later_repeats_nothing(self) -> None:
        assert said("abc", "abcdef", "abc", "abcdefg") == ["abc", "def", "", "g"]
        assert said(left_out(10, "abc"), "0123456789a", left_out(11, "bcd")) == [left_out(10, "abc"), "", "d"]

    def test_an_output_that_is_dropped_is_no_news(self) -> None:
        assert said("abc", None, "abcd") == ["abc", "", "d"]

    def test_characters_of_several_bytes_are_said_whole(self) -> None:
        assert said("ß", "ß日", "ß日本 ✓", left_out(2, "日本 ✓語")) == ["ß", "日", "本 ✓", "語"]
        assert said("日本", left_out(9, "語x")) == ["日本", left_out(3, "語x")]

    def test_a_new_attempt_is_announced_and_said_from_its_beginning(self) -> None:
        follower = Follower()
        first = replace(RUNNING, output="one\n")
        second = replace(RUNNING, token=8, attempt=2)
        assert follower.news(first) == "one\n"
        assert follower.news(replace(first, state=State.RETRYING)) == ""
        assert follower.news(second).strip() == "[attempt 2]"
        assert follower.news(replace(second, output="two\n")) == "two\n"
        assert follower.news(replace(second, output="two\nmore\n")) == "more\n"

    def test_a_run_that_begins_is_no_new_attempt(self) -> None:
        follower = Follower()
        assert follower.news(replace(RUNNING, token=0, attempt=0, state=State.SENT)) == ""
        assert follower.news(RUNNING) == ""
        assert follower.news(replace(RUNNING, output="x")) == "x"

    def test_an_attempt_after_one_that_said_nothing_is_not_announced(self) -> None:
        follower = Follower()
        assert follower.news(RUNNING) == ""
        assert follower.news(replace(RUNNING, token=8, attempt=2, output="x")) == "x"

    @given(st.lists(st.text(max_size=30), max_size=30), st.integers(1, 60))
    def test_together_it_is_what_was_written_less_what_is_said_to_be_left_out(
        self, parts: list[str], limit: int
    ) -> None:
        tail, follower, news = Tail(limit), Follower(), ""
        for part in parts:
            tail.feed(part.replace("\0", "0").encode("utf-8", "backslashreplace"))
            news += follower.news(replace(RUNNING, output=tail.text()))
        everything = "".join(parts).replace("\0", "0").encode("utf-8", "backslashreplace").decode()
        pieces, count = _without_notes(news)
        assert len("".join(pieces).encode()) + count == len(everything.encode())
        at = 0
        for piece in pieces:
            at = everything.find(piece, at)
            assert at >= 0
            at += len(piece)

    @given(st.lists(st.text(max_size=10), min_size=1, max_size=30))
    def test_with_room_for_all_it_is_exactly_what_was_written(self, parts: list[str]) -> None:
        tail, follower, news = Tail(100_000), Follower(), ""
        for part in parts:
            tail.feed(part.encode("utf-8", "backslashreplace"))
            news += follower.news(replace(RUNNING, output=tail.text()))
        assert news.encode() == "".join(parts).replace("\0", "\ufffd").encode("utf-8", "backslashreplace")


def _without_notes(news: str) -> tuple[list[str], int]:
    """Return the pieces between the notes of what is left out, and how many bytes those count."""
    parts = re.split(r"\[(\d+) bytes before this are in the log\]\n", news)
    return [part for part in parts[::2] if part], sum(map(int, parts[1::2]))


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore(now=lambda: MOMENT)
    know(made)
    return made


@pytest.fixture
def context(store: MemoryStore) -> Context:
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.legion_store_url = "memory://following"
    legion = Legion(app)
    legion.context.use_store(store)
    return legion.context


class TestFollow:
    """From a run's record to the end of the run."""

    def test_it_goes_on_until_the_run_is_over_and_writes_all(self, context: Context, store: MemoryStore) -> None:
        token = run(store, fire(1))
        acts = [
            lambda: store.progress("job-1", token, "one\n"),
            lambda: None,
            lambda: store.progress("job-1", token, "one\ntwo\n"),
            lambda: store.end("job-1", token, Outcome(state=State.SUCCEEDED, output="one\ntwo\nlast"), KEEP),
        ]
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            acts.pop(0)()

        written: list[str] = []
        first = store.get("job-1")
        assert first is not None
        states = [record.state for record in follow(context, first, written.append, pause)]

        assert written == ["one\n", "two\n", "last"]
        assert states == [State.RUNNING] * 4 + [State.SUCCEEDED]
        assert pauses == [POLL] * 4

    def test_a_run_that_is_over_is_said_at_once(self, context: Context, store: MemoryStore) -> None:
        token = run(store, fire(1))
        store.end("job-1", token, Outcome(state=State.FAILED, output="x"), KEEP)
        record = store.get("job-1")
        assert record is not None
        written: list[str] = []
        assert [one.state for one in follow(context, record, written.append, _never)] == [State.FAILED]
        assert written == ["x"]

    def test_one_that_nobody_watches_is_over(self, context: Context) -> None:
        record = replace(RUNNING, state=State.SENT, reason=Reason.UNWATCHED)
        assert list(follow(context, record, _never, _never)) == [record]

    def test_one_that_the_store_has_forgotten_is_not_followed_for_ever(
        self, context: Context, store: MemoryStore
    ) -> None:
        run(store, fire(1))
        record = store.get("job-1")
        assert record is not None
        empty = MemoryStore(now=lambda: MOMENT)
        looks = 0

        def pause(seconds: float) -> None:
            nonlocal looks
            context.use_store(empty)
            looks += 1
            assert looks < 1000, "it never ends"

        for _ in follow(context, record, lambda text: None, pause):
            pass

    def test_ending_is_seen_also_without_output(self, context: Context, store: MemoryStore) -> None:
        token = run(store, fire(1))
        record = store.get("job-1")
        assert record is not None
        last = list(follow(context, record, _never, lambda _: store.end("job-1", token, SUCCESS, KEEP)))[-1]
        assert last.state is State.SUCCEEDED


def _never(*args: object) -> None:
    raise AssertionError("nothing is written, and nothing waited for")


class TestWriting:
    """What a terminal gets to see."""

    def shown(self, capsys: pytest.CaptureFixture[str], text: str) -> str:
        write_output(text)
        return capsys.readouterr().out

    def test_lines_and_tabs_stay_and_no_end_of_line_is_added(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.shown(capsys, "a\tb\nß 日本 ✓\r\nend") == "a\tb\nß 日本 ✓\nend"
        assert self.shown(capsys, "") == ""

    def test_what_draws_over_its_own_line_is_shown_line_by_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.shown(capsys, "10 %\r20 %\r") == "10 %\n20 %"

    @pytest.mark.parametrize(
        "text", ["\x1b[2J", "\x07", "\x9b31m", "\x00", "\x7f", "\u202egnp", "\u2066", "\u2028", "\x0b", "\x85"]
    )
    def test_what_could_steer_it_is_escaped(self, capsys: pytest.CaptureFixture[str], text: str) -> None:
        out = self.shown(capsys, text)
        assert all(char.isprintable() or char == " " for char in out)
        assert "\\" in out

    @given(st.text())
    def test_nothing_that_could_steer_it_gets_through(self, text: str) -> None:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            write_output(text.encode("utf-8", "replace").decode())
        assert not set(out.getvalue()) & set("\x00\x07\x08\x0b\x0c\r\x1b\x7f\x85\x9b\u2028\u2029\u202e\u2066")
