"""What a task prints and logs is captured for its run, and goes where it went before."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from celery.utils.log import get_task_logger

from celery_legion.worker import capture as module
from celery_legion.worker.capture import LOGGERS, Capture

NAMES = ("", "celery", "celery.task", "celery.redirected", "test.capture")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Nothing captures, and handlers and levels are as they were afterwards."""
    loggers = [logging.getLogger(name) for name in NAMES]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    for logger in loggers[1:]:
        logger.setLevel(logging.NOTSET)
    loggers[0].setLevel(logging.INFO)
    yield
    module._capturing.set(None)
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


Divert = Callable[[], tuple[io.StringIO, io.StringIO]]


@pytest.fixture
def divert(monkeypatch: pytest.MonkeyPatch) -> Divert:
    """Return what puts other streams in place; only within a test, since pytest has its own for each of its steps."""

    def put() -> tuple[io.StringIO, io.StringIO]:
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        return out, err

    return put


def in_a_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_what_is_printed_is_captured_and_still_goes_where_it_went(divert: Divert) -> None:
    out, err = divert()
    capture = Capture(1000)
    print("one")
    print("two", file=sys.stderr)
    sys.stdout.writelines(["three\n", "four\n"])

    assert capture.close() == "one\ntwo\nthree\nfour\n"
    assert out.getvalue() == "one\nthree\nfour\n"
    assert err.getvalue() == "two\n"


def test_a_stream_is_otherwise_what_it_was(divert: Divert) -> None:
    out, _ = divert()
    Capture(1000).close()

    assert sys.stdout.getvalue() == ""
    assert sys.stdout.write("four") == 4
    sys.stdout.flush()
    assert sys.stdout.isatty() is False
    assert out.getvalue() == "four"


def test_what_is_logged_is_captured_with_its_level() -> None:
    capture = Capture(1000)
    logging.getLogger("test.capture").info("read %d rows", 5)
    logging.getLogger().warning("slow")
    logging.getLogger("test.capture").debug("not enabled")

    assert capture.close() == "INFO: read 5 rows\nWARNING: slow\n"


def test_an_error_is_captured_with_its_traceback() -> None:
    capture = Capture(1000)
    try:
        1 / 0
    except ZeroDivisionError:
        logging.getLogger("test.capture").exception("broken")

    tail = capture.close()
    assert tail is not None
    assert tail.startswith("ERROR: broken\nTraceback")
    assert "ZeroDivisionError" in tail


@pytest.mark.parametrize("propagate", [True, False])
def test_a_record_that_passes_several_loggers_is_captured_once(propagate: bool) -> None:
    logging.getLogger("celery.task").propagate = propagate
    logger = get_task_logger("test.capture.task")
    capture = Capture(1000)
    logger.warning("once")
    logger.warning("once")

    assert capture.close() == "WARNING: once\nWARNING: once\n"


@pytest.mark.parametrize("name", ["celery.app.trace", "celery.worker.strategy", "celery.pool"])
def test_what_celery_says_of_the_task_is_not_the_task_s_own(name: str) -> None:
    capture = Capture(1000)
    logging.getLogger(name).warning("Task t succeeded")
    logging.getLogger("celeryish").warning("mine")

    assert capture.close() == "WARNING: mine\n"


def test_what_celery_logs_of_what_is_printed_is_not_captured_again(divert: Divert) -> None:
    divert()
    redirected = logging.getLogger("celery.redirected")

    class Proxy(io.StringIO):
        """Celery's: what is written becomes a record."""

        def write(self, text: str) -> int:
            if text.strip():
                redirected.warning(text.strip())
            return len(text)

    sys.stdout = Proxy()
    capture = Capture(1000)
    print("printed")
    redirected.warning("printed")

    assert capture.close() == "printed\n"


def test_another_thread_s_words_are_not_this_one_s(divert: Divert) -> None:
    out, _ = divert()
    capture = Capture(1000)
    print("mine")

    def other() -> None:
        print("theirs")
        logging.getLogger("test.capture").warning("theirs, too")

    in_a_thread(other)

    assert capture.close() == "mine\n"
    assert out.getvalue() == "mine\ntheirs\n"


def test_two_threads_capture_beside_one_another() -> None:
    tails: dict[str, str | None] = {}
    barrier = threading.Barrier(2, timeout=10)

    def task(name: str) -> None:
        capture = Capture(1000)
        barrier.wait()
        for _ in range(50):
            print(name)
            logging.getLogger("test.capture").info(name)
        barrier.wait()
        tails[name] = capture.close()

    threads = [threading.Thread(target=task, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {name: sorted(set((tail or "").splitlines())) for name, tail in tails.items()} == {
        "a": ["INFO: a", "a"],
        "b": ["INFO: b", "b"],
    }
    assert {name: len((tail or "").splitlines()) for name, tail in tails.items()} == {"a": 100, "b": 100}


def test_after_the_close_nothing_more_is_captured(divert: Divert) -> None:
    out, _ = divert()
    capture = Capture(1000)
    print("before")
    capture.close()
    print("after")
    logging.getLogger("test.capture").warning("after")

    assert capture.close() == "before\n"
    assert out.getvalue() == "before\nafter\n"


def test_nothing_written_is_none() -> None:
    assert Capture(1000).close() is None


def test_only_the_tail_is_kept() -> None:
    capture = Capture(10)
    for number in range(100):
        print(f"{number:02d}", end="")

    assert capture.close() == "[190 bytes before this are in the log]\n9596979899"


def test_what_no_encoding_can_hold_is_escaped() -> None:
    capture = Capture(1000)
    print("a\udcffb\0c")

    assert capture.close() == "a\\udcffb\N{REPLACEMENT CHARACTER}c\n"


def test_capturing_again_puts_nothing_in_place_twice(divert: Divert) -> None:
    out, _ = divert()
    for _ in range(3):
        capture = Capture(1000)
        print("x")
        logging.getLogger("test.capture").info("y")
        assert capture.close() == "x\nINFO: y\n"

    assert out.getvalue() == "x\n" * 3
    for name in LOGGERS:
        assert logging.getLogger(name).handlers.count(module._handler) == 1


def test_streams_and_handlers_that_somebody_took_away_are_put_in_place_again(divert: Divert) -> None:
    divert()
    Capture(1000).close()
    sys.stdout = io.StringIO()
    logging.getLogger().handlers.remove(module._handler)
    capture = Capture(1000)
    print("x")
    logging.getLogger("test.capture").info("y")

    assert capture.close() == "x\nINFO: y\n"
