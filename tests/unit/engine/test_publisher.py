"""Known delivery: what is sent, what waits for the broker, and what is refused for its own sake."""

from __future__ import annotations

from typing import Any

import pytest
from amqp.exceptions import ChannelError, FrameSyntaxError, MessageNacked
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from celery_legion.engine.line import LONGEST_PAUSE
from celery_legion.engine.sending import UnroutableError
from celery_legion.errors import BrokerUnavailableError
from tests.unit.engine.lines import Bench, Line, Server

WORDS = "own trouble"
WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
ERRORS = [
    KeyError(WORDS),
    RedisConnectionError(WORDS),
    OSError(WORDS),
    OperationalError(WORDS),
    ZeroDivisionError(WORDS),
]


def _refusing(plain: Any) -> Any:
    """Let a server refuse by itself, too, what it refuses in a batch."""

    def basic_publish(line: Line, message: Any, *, routing_key: str, **fields: Any) -> None:
        refusal = line.server.refuses.get(routing_key)
        if line.buffer is None and refusal is not None:
            raise ResponseError(str(refusal).rpartition("caused error: ")[2])
        plain(line, message, routing_key=routing_key, **fields)

    return basic_publish


@pytest.fixture(params=[True, False], ids=["batched", "one by one"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(Server(batches=request.param))


@pytest.fixture
def rabbit() -> Bench:
    return Bench(Server(driver="amqp"))


def test_what_arrives_is_known(bench: Bench) -> None:
    bench.publish("a", "b")

    assert bench.known == bench.server.arrived == ["a-1", "b-1"]
    assert bench.server.connections == 1


class TestMaking:
    """What a user's code raises is its own error, whatever its type."""

    @pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
    def test_what_is_raised_is_written_on_the_message_and_stops_no_other(self, bench: Bench, error: Exception) -> None:
        bench.raises["sick"] = error
        for _ in range(3):
            # Alone, too: nothing else passes then that could tell it from a broken line.
            [alone] = bench.publish("sick")
            assert (alone.error, alone.accepted, bench.known) == (error, False, [])
            sick, *others = bench.publish("sick", "a", "b")
            assert sick.error is error
            assert [other.run_id for other in others] == bench.known
        assert bench.publisher.ready()
        assert bench.publisher.broken is False

    def test_it_needs_no_broker(self, bench: Bench) -> None:
        bench.server.gone = True
        bench.raises["sick"] = KeyError()
        made = bench.dispatches("sick", "good")
        with pytest.raises(BrokerUnavailableError):
            bench.publisher.publish(made, bench.send)

        assert [type(one.error) for one in made] == [KeyError, type(None)]

    def test_it_is_done_once_however_long_the_broker_is_away(self, bench: Bench) -> None:
        bench.server.gone = True
        made = bench.dispatches("a")
        for _ in range(3):
            with pytest.raises(BrokerUnavailableError):
                bench.publisher.publish(made, bench.send)
        bench.server.gone = False

        assert bench.publisher.publish(made, bench.send) == ["a-1"]
        assert bench.made == ["a-1"]
        # A message that gets lost after that is made anew.
        assert bench.publisher.publish(made, bench.send) == ["a-1"]
        assert bench.made == ["a-1", "a-1"]

    def test_slow_code_keeps_only_its_own_message_waiting(self, bench: Bench) -> None:
        bench.takes["slow"] = 5.0
        arrived: list[list[str]] = []
        send = bench.send

        def noting(dispatch: Any, producer: Any) -> None:
            arrived.append(list(bench.server.arrived))
            send(dispatch, producer)

        bench.publisher.publish(bench.dispatches("a", "slow", "b"), noting)
        assert arrived == [[], [], ["a-1", "slow-1"]]
        assert bench.server.arrived == ["a-1", "slow-1", "b-1"]


class TestTheBroker:
    """What is the broker's failure, and how it is borne."""

    @pytest.mark.parametrize("cause", [TimeoutError(), ResponseError("Command # 1 (X) of pipeline caused error: OOM")])
    def test_a_batch_whose_delivery_is_uncertain_is_not_known(self, cause: Exception) -> None:
        bench = Bench(Server(batches=True))
        bench.server.loses_batches, bench.server.mute = cause, isinstance(cause, ResponseError)

        # A time-out costs the pass all the time that it has.
        bench.publisher._monotonic = iter(range(0, 100, 4)).__next__
        with pytest.raises(BrokerUnavailableError) as caught:
            bench.publish("a", "b")
        assert caught.value.delivered == ()

    def test_what_was_sent_one_by_one_before_the_line_broke_is_known(self) -> None:
        bench = Bench(Server())
        bench.server.sick = {name: ConnectionResetError() for name in ("b", "c")}
        with pytest.raises(BrokerUnavailableError) as caught:
            bench.publish("a", "b", "c", "d")
        assert caught.value.delivered == ("a-1",)

    def test_a_broker_that_greets_and_takes_no_message_refuses_nobody(self, bench: Bench) -> None:
        bench.server.mute = True
        for _ in range(4):
            made = bench.dispatches("alone")
            with pytest.raises(BrokerUnavailableError):
                bench.publisher.publish(made, bench.send)
            assert made[0].error is None
        for tries in (2, 4):
            bench.server.tries = 0
            with pytest.raises(BrokerUnavailableError):
                bench.publish(*"abcdefgh"[: tries * 2])
            # It is not asked for each of many.
            assert bench.server.tries <= 3
        bench.server.mute = False
        [dispatch] = bench.publish("alone")

        assert (bench.known, dispatch.error) == ([dispatch.run_id], None)

    def test_pauses_grow_up_to_a_bound_and_end_with_the_first_success(self, bench: Bench) -> None:
        bench.server.gone = True
        pauses = []
        for _ in range(7):
            with pytest.raises(BrokerUnavailableError):
                bench.publish("a")
            assert not bench.publisher.ready()
            pauses.append(bench.publisher.retry_in())
            bench.time += pauses[-1]
            assert bench.publisher.ready()
        bench.server.gone = False
        bench.publish("a")

        assert pauses == [1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE]
        assert bench.publisher.broken is False

    def test_nothing_to_send_still_says_whether_the_broker_is_there(self, bench: Bench) -> None:
        bench.server.gone = True
        with pytest.raises(BrokerUnavailableError):
            bench.publisher.publish((), bench.send)
        bench.server.gone = False
        assert bench.publisher.publish((), bench.send) == []


class TestOneMessage:
    """What the broker, or the client on the way to it, refuses of one message alone."""

    def test_one_that_breaks_each_line_beside_others_that_pass_is_refused(self, bench: Bench) -> None:
        bench.server.sick["sick"] = ConnectionError("too long for this server")
        for count in (1, 2):
            sick, *others = bench.publish("sick", "a", "b")
            assert sick.error is bench.server.sick["sick"]
            assert sorted(bench.known) == [f"a-{count}", f"b-{count}"] == [one.run_id for one in others]

    def test_one_that_broke_the_line_by_chance_is_sent_after_the_others(self, bench: Bench) -> None:
        errors = iter([ConnectionResetError()])
        line_publish = Line.basic_publish

        def once(line: Line, message: Any, **fields: Any) -> None:
            if message == "a-1" and (error := next(errors, None)):
                raise error
            line_publish(line, message, **fields)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Line, "basic_publish", once)
            made = bench.publish("a", "b", "c")
        assert sorted(bench.known) == sorted(bench.server.arrived) == ["a-1", "b-1", "c-1"]
        assert [one.error for one in made] == [None] * 3

    def test_one_that_the_server_refuses_in_a_batch_is_found_and_no_other_sent_twice(self) -> None:
        bench = Bench(Server(batches=True))
        bench.server.refuses = {"b": ResponseError(WRONGTYPE)}
        first, bad, last = bench.publish("a", "b", "c")
        assert (first.error, bad.error, last.error) == (None, bench.server.refuses["b"], None)
        assert bench.known == bench.server.arrived == ["a-1", "c-1"]
        assert bench.server.flushes == 1
        assert bench.publisher.broken is False

    def test_one_that_a_client_does_not_tell_from_the_others_is_found_all_the_same(self) -> None:
        bench = Bench(Server(batches=True))
        bench.server.tells = False
        bench.server.refuses = {"b": ResponseError(f"Command # 2 (LPUSH b x) of pipeline caused error: {WRONGTYPE}")}
        plain, Line.basic_publish = Line.basic_publish, _refusing(Line.basic_publish)
        try:
            _, bad, _ = bench.publish("a", "b", "c")
        finally:
            Line.basic_publish = plain  # type: ignore[method-assign]
        assert str(bad.error) == WRONGTYPE
        assert bench.known == ["a-1", "c-1"]

    def test_a_server_that_is_full_is_the_brokers_failure_and_what_it_took_before_is_known(self) -> None:
        bench = Bench(Server(batches=True))
        full = ResponseError("OOM command not allowed when used memory > 'maxmemory'.")
        bench.server.refuses = dict.fromkeys("bcd", full)
        plain, Line.basic_publish = Line.basic_publish, _refusing(Line.basic_publish)
        try:
            with pytest.raises(BrokerUnavailableError, match="OOM") as caught:
                bench.publish("a", "b", "c", "d")
        finally:
            Line.basic_publish = plain  # type: ignore[method-assign]
        assert caught.value.delivered == ("a-1",)
        assert bench.server.arrived == ["a-1"]

    @pytest.mark.parametrize("error", [ChannelError("PRECONDITION_FAILED"), ValueError("no such priority")])
    def test_one_for_which_the_broker_closes_the_channel_is_refused(self, rabbit: Bench, error: Exception) -> None:
        rabbit.server.sick["sick"] = error
        sick, good = rabbit.publish("sick", "good")
        assert (sick.error, good.accepted, rabbit.known) == (error, True, ["good-1"])

    @pytest.mark.parametrize(
        "fields", [{"routing_key": "x" * 300}, {"headers": {"a": object()}}], ids=["routing key", "headers"]
    )
    def test_one_that_the_client_cannot_write_is_refused_though_it_says_so_as_of_a_connection(
        self, rabbit: Bench, fields: dict[str, Any]
    ) -> None:
        def send(dispatch: Any, producer: Any) -> None:
            producer.publish({}, correlation_id=dispatch.run_id, **{"routing_key": "sick", **fields})

        Line.connection_errors, before = (FrameSyntaxError,), Line.connection_errors
        rabbit.server.sick = dict.fromkeys(("sick", "x" * 300), FrameSyntaxError("too long"))
        try:
            [alone] = made = rabbit.dispatches("a")
            assert rabbit.publisher.publish(made, send) == []
        finally:
            Line.connection_errors = before
        assert isinstance(alone.error, FrameSyntaxError)
        assert rabbit.publisher.ready()

    def test_an_error_after_the_line_is_lost_is_the_lines(self, rabbit: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        def stumble(line: Line, message: Any, **_: Any) -> None:
            line.connected = False
            raise AttributeError("'NoneType' object has no attribute 'send_method'")

        monkeypatch.setattr(Line, "basic_publish", stumble)
        made = rabbit.dispatches("a", "b")
        with pytest.raises(BrokerUnavailableError, match="send_method"):
            rabbit.publisher.publish(made, rabbit.send)
        assert [one.error for one in made] == [None, None]

    def test_one_that_the_broker_nacks_waits_and_holds_up_nobody(self, rabbit: Bench) -> None:
        rabbit.server.sick["full"] = MessageNacked()
        made = rabbit.dispatches("full", "good")
        assert rabbit.publisher.publish(made, rabbit.send) == ["good-1"]
        assert [(one.nacked, one.accepted, one.error) for one in made] == [(True, False, None), (False, True, None)]
        assert rabbit.publisher.broken is False

        del rabbit.server.sick["full"]
        assert rabbit.publisher.publish(made[:1], rabbit.send) == ["full-1"]
        assert made[0].nacked is False
        assert rabbit.made == ["full-1", "good-1"]


class TestUnroutable:
    """Messages that reach no queue."""

    def test_one_that_comes_back_is_refused_with_where_it_went(self, rabbit: Bench) -> None:
        rabbit.server.unroutable = {"x"}
        lost, good = rabbit.publish("x", "good")
        assert isinstance(lost.error, UnroutableError)
        assert "no queue is bound to the nameless exchange with routing key 'x'" in str(lost.error)
        assert "'amq.direct'" in str(UnroutableError("amq.direct", "x"))
        assert (good.accepted, rabbit.known) == (True, ["good-1"])

    def test_a_queue_that_somebody_deleted_is_declared_again(self, rabbit: Bench) -> None:
        class Entity:
            can_cache_declaration = False
            is_bound = True
            name = "x"

            def bind(self, channel: Line) -> Entity:
                return self

            def declare(self, channel: Any = None) -> None:
                # What was declared before the first try has gone since.
                if rabbit.server.tries:
                    rabbit.server.unroutable.discard("x")

        rabbit.server.unroutable = {"x"}
        rabbit.declare = [Entity()]
        [found] = rabbit.publish("x")
        assert (found.error, rabbit.known, rabbit.server.arrived) == (None, ["x-1"], ["x-1"])

    def test_an_event_may_reach_nobody(self, rabbit: Bench) -> None:
        def send(dispatch: Any, producer: Any) -> None:
            rabbit.send(dispatch, producer)
            producer.publish({}, routing_key="nobody", correlation_id="")

        rabbit.server.unroutable = {"nobody"}
        [one] = made = rabbit.dispatches("a")
        assert rabbit.publisher.publish(made, send) == ["a-1"]
        assert one.error is None
