"""The line to the broker: alternates are tried in turn, and what hangs is left behind."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from kombu import transport as transports
from kombu.transport.memory import Transport as MemoryTransport
from redis.retry import Retry

from celery_legion.engine import line as line_module
from celery_legion.engine import roll_call
from celery_legion.engine.aside import Aside, HangsError
from celery_legion.engine.bounds import transport_options
from celery_legion.engine.line import FIRST_PAUSE, LONGEST_OF_SEVERAL, LONGEST_PAUSE, Line

FOUR = timedelta(seconds=4)
THREE = "try://first;try://second;try://third"


class Site:
    """Brokers by their hosts: which are away, which were asked, and what holds calls up."""

    def __init__(self) -> None:
        self.away: set[str] = set()
        self.asked: list[str] = []
        self.shares: set[float] = set()
        self.time = 0.0
        self.takes = 0.0
        self.opened = threading.Event()
        self.opened.set()

    def connect(self, transport: Any) -> None:
        client = transport.client
        self.asked.append(client.hostname)
        self.shares.add(client.connect_timeout)
        self.opened.wait()
        if client.hostname in self.away:
            self.time += self.takes
            raise ConnectionRefusedError(client.hostname)

    def line(self, broker: Any, timeout: timedelta = FOUR, **conf: Any) -> Line:
        app = Celery("site", broker=broker, set_as_current=False)
        app.conf.update(conf)
        return Line(app, timeout, lambda: self.time)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site()

    class Trying(MemoryTransport):
        def establish_connection(self) -> Any:
            site.connect(self)
            return super().establish_connection()

    class Stalling(Trying):
        driver_type = "stalling"

    # The transports' own registry takes names of modules only.
    monkeypatch.setitem(transports._transport_cache, "try", Trying)
    monkeypatch.setitem(transports._transport_cache, "stall", Stalling)
    yield site
    site.opened.set()


@pytest.mark.parametrize("broker", [THREE, THREE.split(";")], ids=["text", "list"])
def test_each_alternate_is_tried_once_and_the_one_that_answers_is_kept(site: Site, broker: Any) -> None:
    line = site.line(broker)
    site.away = {"first", "second"}

    line.producer()
    line.mend()
    line.drop()
    line.producer()

    assert site.asked == ["first", "second", "third", "third"]
    assert line.name == "try://third"


def test_when_none_answers_the_next_attempt_goes_round_again_after_a_pause(site: Site) -> None:
    line = site.line(THREE)
    site.away = {"first", "second", "third"}
    pauses = []
    for _ in range(3):
        with pytest.raises(Exception, match="third"):
            line.producer()
        line.fail()
        pauses.append(line.retry_in())

    assert site.asked == ["first", "second", "third"] * 3
    assert pauses == [FIRST_PAUSE, LONGEST_OF_SEVERAL, LONGEST_OF_SEVERAL]
    assert line.name == "try://first, try://second, try://third"


def test_alternates_share_the_time_and_the_next_attempt_begins_where_it_ended(site: Site) -> None:
    line = site.line(THREE)
    site.away, site.takes = {"first", "second", "third"}, 2.0

    with pytest.raises(Exception, match="second"):
        line.producer()
    assert site.asked == ["first", "second"]
    assert site.shares == {4 / 3}
    site.away = {"first", "second"}
    line.producer()
    assert site.asked == ["first", "second", "third"]


def test_an_open_line_that_fails_goes_to_the_next_at_once_but_round_only_once(site: Site) -> None:
    line = site.line(THREE)
    line.producer()
    line.mend()
    waits = []
    for _ in range(4):
        line.fail()
        waits.append(line.retry_in())
        line.producer()

    assert site.asked == ["first", "second", "third", "first", "second"]
    assert waits == [0, 0, 2, 2]
    assert line.broken


def test_one_that_was_dropped_before_it_is_said_to_fail_gives_way_too(site: Site) -> None:
    line = site.line(THREE)
    line.producer()
    line.drop()
    line.fail()
    line.producer()

    assert site.asked == ["first", "second"]


def test_the_only_broker_rests_as_before(site: Site) -> None:
    line = site.line("try://only")
    pauses = []
    for _ in range(7):
        line.producer()
        line.fail()
        pauses.append(line.retry_in())

    assert pauses == [1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE]
    assert site.shares == {4.0}


def test_another_broker_is_named_without_its_password(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    line = site.line("try://me:secret@first;try://me:secret@second")
    with caplog.at_level(logging.WARNING):
        line.producer()
        line.fail()
        line.producer()
        line.drop()
        line.producer()

    assert [record.getMessage() for record in caplog.records] == [
        "messages go to the broker try://me:***@second from now on, since the one before it failed"
    ]


def test_workers_are_asked_at_the_broker_that_messages_go_to(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    line = site.line(THREE)
    site.away = {"first"}
    line.producer()
    monkeypatch.setattr(roll_call, "ANSWERS_WITHIN", 0.01)

    line.consumers()
    assert site.asked == ["first", "second", "second"]


def test_sentinels_are_one_broker_and_each_is_asked_once() -> None:
    app = Celery("sentinels", broker="sentinel://a:1;sentinel://b:2", set_as_current=False)
    app.conf.broker_transport_options = {"master_name": "m", "sentinel_kwargs": {"password": "p"}}
    line = Line(app, FOUR, lambda: 0.0)
    connection, driver = line._new_connection(4.0)

    options = connection.transport_options["sentinel_kwargs"]
    assert driver == "redis"
    assert len(connection.alt) == 2
    assert (options["password"], options["socket_timeout"], options["socket_connect_timeout"]) == ("p", 2.0, 2.0)
    assert isinstance(options["retry"], Retry)
    assert options["retry"].get_retries() == 0
    assert connection.transport_options["socket_timeout"] == 4.0


@pytest.mark.parametrize(
    ("driver", "given", "expected"),
    [
        ("redis", {}, {"socket_timeout": 4.0, "socket_connect_timeout": 4.0}),
        ("redis", {"socket_timeout": 1}, {"socket_timeout": 1, "socket_connect_timeout": 4.0}),
        ("redis", {"socket_timeout": 9}, {"socket_timeout": 4.0, "socket_connect_timeout": 4.0}),
        *(
            ("redis", {"socket_timeout": value}, {"socket_timeout": 4.0, "socket_connect_timeout": 4.0})
            for value in (0, -1, float("inf"), float("nan"), "5", None)
        ),
        ("amqp", None, {"read_timeout": 4.0, "write_timeout": 4.0, "confirm_publish": True}),
        ("SQS", {"region": "x"}, {}),
    ],
)
def test_options_bound_a_transport_that_has_them(driver: str, given: Any, expected: dict[str, Any]) -> None:
    assert transport_options(driver, given, 4.0) == expected


def test_a_transport_that_nothing_bounds_is_left_behind_when_it_hangs(site: Site) -> None:
    line = site.line("stall://only", timedelta(milliseconds=50))
    site.opened.clear()

    with pytest.raises(HangsError):
        line.producer()
    line.fail()
    site.opened.set()
    line.producer().publish({}, routing_key="line-test")
    line.mend()

    assert site.asked == ["only", "only"]


def test_a_message_whose_publishing_hangs_is_left_behind(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    line = site.line("stall://only", timedelta(milliseconds=50))
    producer = line.producer()
    hanging = threading.Event()
    monkeypatch.setattr(producer._producer, "publish", lambda *args, **kwargs: hanging.wait())

    with pytest.raises(HangsError):
        producer.run(producer.publish, {})
    line.fail()
    assert line.producer() is not producer
    hanging.set()


def test_no_more_is_left_behind_than_a_process_can_hold(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_module, "LEFT_LIMIT", 2)
    line = site.line("stall://only", timedelta(milliseconds=20))
    site.opened.clear()
    for _ in range(4):
        with pytest.raises(HangsError):
            line.producer()
        line.fail()

    assert site.asked == ["only", "only"]


def test_bounded_transports_need_no_thread(site: Site) -> None:
    def threads() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name == "legion-broker"}

    before = threads()
    site.line("try://only").producer()

    assert threads() <= before


def test_a_call_aside_returns_or_raises_as_it_does_and_sees_the_callers_context() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    variable.set("the caller's")
    aside = Aside()

    assert aside.call(5.0, variable.get) == "the caller's"
    with pytest.raises(KeyError, match="x"):
        aside.call(5.0, {}.__getitem__, "x")
    left = threading.Event()
    aside.leave(left.set)
    assert left.wait(5.0)
