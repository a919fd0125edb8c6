"""A command's output on its way into the log and into the record."""

from __future__ import annotations

import logging
import tracemalloc
from collections.abc import Iterator

import pytest

from celery_legion.worker.output import FEW, LINE, Output, Tail, visible

SECRET = "correct-horse-battery-staple"
LOGGER = "celery_legion.job.test-output"
JOB = "test-output"


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def texts(self) -> list[str]:
        """The records without the job's name, with which each begins."""
        texts = [record.getMessage() for record in self.records]
        assert all(text.startswith(f"{JOB}: ") for text in texts)
        return [text.removeprefix(f"{JOB}: ") for text in texts]


@pytest.fixture
def logged() -> Iterator[Records]:
    handler = Records()
    log = logging.getLogger(LOGGER)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    yield handler
    log.removeHandler(handler)


def output(limit: int = 8192, *secrets: str) -> Output:
    return Output(logging.getLogger(LOGGER), JOB, limit, secrets)


class TestTail:
    """The last bytes of a stream."""

    def test_nothing_written_is_none(self) -> None:
        assert Tail(10).text() is None

    def test_what_fits_is_kept_as_it_is(self) -> None:
        tail = Tail(10)
        for part in (b"01234", b"", b"56789"):
            tail.feed(part)

        assert tail.text() == "0123456789"

    def test_of_more_the_end_is_kept_and_the_first_line_says_how_much_is_left_out(self) -> None:
        tail = Tail(10)
        for number in range(100):
            tail.feed(b"%02d" % number)

        assert tail.text() == "[190 bytes before this are in the log]\n9596979899"

    def test_one_chunk_that_is_longer_than_all_is_cut(self) -> None:
        tail = Tail(10)
        tail.feed(b"x" * 1000 + b"y" * 10)

        assert tail.text() == f"[1000 bytes before this are in the log]\n{'y' * 10}"

    def test_nul_is_replaced(self) -> None:
        tail = Tail(10)
        tail.feed(b"a\0b")

        assert tail.text() == "a\N{REPLACEMENT CHARACTER}b"

    def test_what_is_no_utf_8_is_escaped(self) -> None:
        tail = Tail(10)
        tail.feed("ß".encode() + b"\xff\xfe")

        assert tail.text() == "ß\\xff\\xfe"

    def test_a_character_that_is_cut_hurts_no_other(self) -> None:
        tail = Tail(5)
        tail.feed("日本語".encode())

        text = tail.text()
        assert text is not None
        assert text.endswith("語")
        text.encode("utf-8")

    def test_it_holds_no_more_than_twice_its_limit(self) -> None:
        tail = Tail(1000)
        for _ in range(500):
            tail.feed(b"x" * 999)
            assert len(tail._data) <= 2000


class TestLevels:
    """How output is logged."""

    def test_standard_output_is_info_and_standard_error_a_warning(self, logged: Records) -> None:
        made = output()
        made.feed(False, b"fine\n")
        made.feed(True, b"careful\n")

        assert [(record.levelname, record.getMessage()) for record in logged.records] == [
            ("INFO", f"{JOB}: fine"),
            ("WARNING", f"{JOB}: careful"),
        ]
        assert {record.name for record in logged.records} == {LOGGER}

    def test_a_line_is_logged_when_it_ends(self, logged: Records) -> None:
        made = output()
        made.feed(False, b"one\ntw")
        assert logged.texts == ["one"]
        made.feed(False, b"o\n")
        assert logged.texts == ["one", "two"]

    def test_the_streams_do_not_mix_within_a_line(self, logged: Records) -> None:
        made = output()
        for is_error, part in ((False, b"ou"), (True, b"er"), (False, b"t\n"), (True, b"r\n")):
            made.feed(is_error, part)

        assert logged.texts == ["out", "err"]

    def test_what_has_no_end_of_line_is_logged_at_the_close(self, logged: Records) -> None:
        made = output()
        made.feed(False, b"out")
        made.feed(True, b"err")
        assert logged.texts == []

        assert made.close() == "outerr"
        assert sorted(logged.texts) == ["err", "out"]

    def test_it_may_be_closed_twice(self, logged: Records) -> None:
        made = output()
        made.feed(False, b"out")

        assert made.close() == made.close() == "out"
        assert logged.texts == ["out"]

    def test_nothing_written_is_nothing_logged(self, logged: Records) -> None:
        assert output().close() is None
        assert logged.texts == []

    def test_empty_lines_stay(self, logged: Records) -> None:
        made = output()
        made.feed(False, b"a\n\nb\n")

        assert logged.texts == ["a", "", "b"]

    def test_a_percent_sign_is_text(self, logged: Records) -> None:
        output_ = output()
        output_.feed(False, b"100%s %d\n")

        assert logged.texts == ["100%s %d"]

    def test_what_nobody_logs_is_still_in_the_tail(self, logged: Records) -> None:
        logging.getLogger(LOGGER).setLevel(logging.ERROR)
        made = output()
        made.feed(True, b"careful\n")

        assert logged.texts == []
        assert made.close() == "careful\n"


class TestLines:
    """Long lines are cut, and many are put together."""

    def test_a_long_line_is_cut_and_nothing_is_lost(self, logged: Records) -> None:
        line = "".join(f"{number:08d}" for number in range(4000))
        made = output()
        made.feed(False, line.encode() + b"\n")

        assert "".join(logged.texts) == line
        assert max(map(len, logged.texts)) <= LINE

    @pytest.mark.parametrize("size", [1000, LINE - 1, LINE, LINE + 1, 65536])
    def test_a_long_line_in_chunks_is_cut_before_it_ends(self, logged: Records, size: int) -> None:
        line = "".join(f"{number:08d}" for number in range(5000)).encode()
        made = output()
        for start in range(0, len(line), size):
            made.feed(False, line[start : start + size])

        assert logged.texts
        made.close()
        assert "".join(logged.texts) == line.decode()
        assert max(map(len, logged.texts)) <= LINE

    def test_few_lines_get_a_record_each(self, logged: Records) -> None:
        made = output()
        made.feed(False, b"x\n" * FEW)

        assert logged.texts == ["x"] * FEW

    def test_many_lines_are_put_together_and_none_is_lost(self, logged: Records) -> None:
        lines = [f"line {number}" for number in range(5000)]
        made = output()
        made.feed(False, "\n".join(lines).encode() + b"\n")

        assert "\n".join(logged.texts).split("\n") == lines
        assert len(logged.texts) < 20
        assert max(map(len, logged.texts)) <= LINE

    def test_a_long_line_among_many_makes_no_record_longer_than_the_longest(self, logged: Records) -> None:
        lines = [b"x"] * FEW + [b"y" * (3 * LINE)] + [b"x"] * FEW
        made = output()
        made.feed(False, b"\n".join(lines) + b"\n")

        assert "".join(logged.texts).replace("\n", "") == "x" * FEW + "y" * 3 * LINE + "x" * FEW
        assert max(map(len, logged.texts)) <= LINE


class TestControl:
    """What could steer a terminal, or forge a line."""

    def test_control_characters_are_escaped_in_the_log(self, logged: Records) -> None:
        made = output()
        made.feed(False, b"\x1b[31mred\x1b[0m \x00 \x07 \x7f a\rb\n")

        assert logged.texts == [r"\x1b[31mred\x1b[0m \x00 \x07 \x7f a\rb"]

    def test_what_turns_text_around_is_escaped_in_the_log(self, logged: Records) -> None:
        made = output()
        made.feed(False, "a\u202eb\u2028c\u0085d\u2066e\n".encode())

        assert logged.texts == [r"a\u202eb\u2028c\x85d\u2066e"]

    def test_tabs_and_all_other_text_stay(self) -> None:
        assert visible("a\tß 日本 ✓") == "a\tß 日本 ✓"

    def test_what_is_no_utf_8_is_escaped_in_the_log(self, logged: Records) -> None:
        made = output()
        made.feed(False, b"\xff\xfe\n")

        assert logged.texts == [r"\xff\xfe"]


class TestSecrets:
    """Secrets leave nowhere, however they come."""

    def test_it_is_masked_in_the_log_and_in_the_tail(self, logged: Records) -> None:
        made = output(8192, SECRET)
        made.feed(False, f"token={SECRET};\n".encode())
        made.feed(True, f"{SECRET}{SECRET}".encode())

        assert made.close() == "token=***;\n******"
        assert logged.texts == ["token=***;", "******"]

    @pytest.mark.parametrize("size", [1, 2, 7, len(SECRET) - 1, len(SECRET), len(SECRET) + 1])
    def test_it_is_masked_however_it_is_cut_into_chunks(self, logged: Records, size: int) -> None:
        data = f"one {SECRET} two\nthree {SECRET}".encode()
        made = output(8192, SECRET)
        for start in range(0, len(data), size):
            made.feed(False, data[start : start + size])

        assert made.close() == "one *** two\nthree ***"
        assert logged.texts == ["one *** two", "three ***"]

    @pytest.mark.parametrize("before", [LINE - len(SECRET), LINE - 15, LINE - 1, LINE, LINE + 1, 2 * LINE - 10])
    @pytest.mark.parametrize("size", [100, 4096, 65536])
    def test_it_is_masked_across_the_cuts_of_a_long_line(self, logged: Records, before: int, size: int) -> None:
        data = b"x" * before + SECRET.encode() + b"y" * 2 * LINE
        made = output(8192, SECRET)
        for start in range(0, len(data), size):
            made.feed(False, data[start : start + size])
        made.close()

        assert "".join(logged.texts) == "x" * before + "***" + "y" * 2 * LINE

    @pytest.mark.parametrize("before", [LINE - len(SECRET), LINE - 15, LINE - 1, LINE])
    def test_it_is_masked_across_the_cuts_of_a_long_line_that_comes_at_once(self, logged: Records, before: int) -> None:
        made = output(8192, SECRET)
        made.feed(False, b"x" * before + SECRET.encode() + b"y" * LINE + b"\n")

        assert "".join(logged.texts) == "x" * before + "***" + "y" * LINE

    def test_it_is_masked_among_many_lines(self, logged: Records) -> None:
        made = output(100, SECRET)
        made.feed(False, f"x {SECRET}\n".encode() * 1000)

        assert not any(SECRET in text for text in logged.texts)
        assert "\n".join(logged.texts).split("\n") == ["x ***"] * 1000

    @pytest.mark.parametrize("more", range(len(SECRET)))
    def test_it_is_masked_at_the_cut_of_the_tail(self, logged: Records, more: int) -> None:
        made = output(100, SECRET)
        made.feed(False, b"x" * 500 + SECRET.encode() + b"y" * (100 - more))

        tail = made.close()
        assert tail is not None
        assert _pieces(SECRET, tail) == []

    @pytest.mark.parametrize("more", [0, 1, 5, 20])
    def test_no_piece_of_it_is_at_the_cut_of_a_tail_that_masking_makes_shorter(
        self, logged: Records, more: int
    ) -> None:
        made = output(100, SECRET)
        made.feed(False, SECRET.encode() * 10 + b"y" * more)

        tail = made.close()
        assert tail is not None
        assert _pieces(SECRET, tail) == []

    def test_the_longest_goes_first(self, logged: Records) -> None:
        made = output(100, "abcdef", "abc")
        made.feed(False, b"abcdef abc\n")

        assert made.close() == "*** ***\n"

    def test_one_of_several_lines_is_masked_however_it_comes(self, logged: Records) -> None:
        key = "-----BEGIN-----\nAAAABBBBCCCC\n-----END-----"
        for size in (1, 10, 20, 1000):
            logged.records.clear()
            data = f"key: {key} is it\n".encode()
            made = output(1000, key)
            for start in range(0, len(data), size):
                made.feed(False, data[start : start + size])
            made.close()
            assert "AAAABBBBCCCC" not in "".join(logged.texts), size

    def test_it_is_masked_in_the_tail_though_the_other_stream_came_between(self, logged: Records) -> None:
        made = output(1000, SECRET)
        made.feed(False, SECRET[:15].encode())
        made.feed(True, b"warning\n")
        made.feed(False, SECRET[15:].encode() + b"\n")

        tail = made.close()
        assert tail is not None
        assert _pieces(SECRET, tail) == []

    def test_one_that_is_no_ascii_is_masked(self, logged: Records) -> None:
        made = output(100, "pässword")
        made.feed(False, "x pässword\n".encode())

        assert made.close() == "x ***\n"


def _pieces(secret: str, text: str) -> list[str]:
    """Return what of *secret*, eight characters or more, stands in *text*."""
    return [secret[start : start + 8] for start in range(len(secret) - 7) if secret[start : start + 8] in text]


def test_a_hundred_megabytes_without_an_end_of_line_need_little_memory() -> None:
    log = logging.getLogger(LOGGER)
    log.setLevel(logging.ERROR)
    made = output(8192, SECRET)
    chunk = b"x" * 65536
    made.feed(False, chunk)
    tracemalloc.start()
    try:
        for _ in range(1600):
            made.feed(False, chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 2 * 1024 * 1024
    tail = made.close()
    assert tail is not None
    assert tail.startswith(f"[{1601 * 65536 - 8192} bytes before this are in the log]\nxxx")
    assert len(tail) < 8300
