"""Making messages with Celery's own code: what was sent is counted, and what a user's code raises is its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery, Task, signals
from celery.result import AsyncResult, EagerResult
from kombu import Exchange, Queue
from kombu.common import Broadcast
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

from celery_legion.beat import Scheduler
from celery_legion.codec import Message
from celery_legion.context import Context
from celery_legion.engine.dispatch import Dispatch, Draft, NotSentError
from celery_legion.engine.making import Maker
from celery_legion.header import KEY, Header
from celery_legion.run import Kind
from celery_legion.stores.memory import MemoryStore

HEADER = Header(
    job="j",
    fire_time=datetime(2026, 1, 1, tzinfo=UTC),
    kind=Kind.SCHEDULED,
    lock="j",
    limit=1,
    lock_ttl=timedelta(hours=1),
)
ERRORS = [KeyError("own"), RedisConnectionError("own"), OSError("own"), OperationalError("own")]


class SilentError(Exception):
    """Says nothing, not even when it is asked."""

    def __str__(self) -> str:
        raise ZeroDivisionError


class Workshop:
    """An app whose broker is no broker at all, and a maker for it."""

    def __init__(self) -> None:
        self.app = Celery("made", broker="redis://127.0.0.1:1/0", backend="rpc://", set_as_current=False)
        self.app.conf.update(legion_store_url="memory://made", result_expires=None)
        Context.of(self.app).use_store(MemoryStore())
        self.scheduler = Scheduler(self.app)
        self.maker = Maker(self.app)

    def task(self, apply_async: Callable[..., Any] | None = None, **options: Any) -> None:
        """Make the task ``t``, with an ``apply_async`` of the user's that is given the task and Celery's own."""

        class Own(Task):
            abstract = True

            def apply_async(self, args: Any = None, kwargs: Any = None, **given: Any) -> Any:
                own = super().apply_async
                return own(args, kwargs, **given) if apply_async is None else apply_async(own, args, kwargs, given)

        def nothing(*args: Any, **kwargs: Any) -> None:
            """Do nothing."""

        self.app.task(name="t", base=Own, shared=False, **options)(nothing)

    def make(self, run_id: str = "run", header: Header | None = HEADER, args: Any = (), **options: Any) -> Dispatch:
        message = Message(task="t", args=tuple(args), options=options)
        dispatch = Dispatch(run_id=run_id, job="j", message=message, header=header)
        self.maker.make(dispatch, self.scheduler._send)
        return dispatch


@pytest.fixture
def shop() -> Iterator[Workshop]:
    made = Workshop()
    yield made
    made.app.close()


def drafts(dispatch: Dispatch) -> list[Draft]:
    assert dispatch.error is None
    assert dispatch.making is not None
    return list(dispatch.making.drafts)


@pytest.mark.parametrize(
    ("given", "astray"),
    [({}, False), ({"queue": "slow"}, True), ({"queue": Queue("celery")}, False), ({"queue": Queue("slow")}, True)],
)
def test_a_message_goes_astray_whose_task_chooses_another_queue(
    shop: Workshop, given: dict[str, Any], astray: bool
) -> None:
    shop.task(lambda own, args, kwargs, options: own(args, kwargs, **{**options, **given}))
    dispatch = shop.make()
    assert not dispatch.astray
    dispatch.queue = "celery"
    assert dispatch.astray is astray


class TestOneMessage:
    """The usual: one message, with the run's id and header."""

    @pytest.mark.parametrize("known", [True, False], ids=["task", "name only"])
    @pytest.mark.parametrize("protocol", [1, 2])
    def test_it_is_ready_to_be_sent(self, shop: Workshop, known: bool, protocol: int) -> None:
        shop.app.conf.task_protocol = protocol
        if known:
            shop.task()
        dispatch = shop.make(args=[1], queue="q", priority=3)
        [draft] = drafts(dispatch)

        assert draft.task_id == "run"
        assert draft.headers[KEY] == HEADER.dump()
        assert (draft.exchange, draft.routing_key) == ("", "q")
        assert draft.fields["priority"] == 3
        assert isinstance(draft.fields["body"], str)
        assert [queue.name for queue in draft.declare] == ["q"]
        assert dispatch.making is not None
        assert (dispatch.making.messages, dispatch.making.guarded, dispatch.making.elsewhere) == (1, True, False)
        assert dispatch.unguarded is False

    def test_a_countdown_and_a_result_backend_need_no_broker_either(self, shop: Workshop) -> None:
        shop.task()
        [draft] = drafts(shop.make(countdown=10, reply_to=None))
        assert draft.headers["eta"]

    def test_the_backends_own_queue_is_not_asked_of_a_broker(
        self, shop: Workshop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # As where beat runs in a thread beside a worker's tasks.
        monkeypatch.setattr("celery_legion.beat.threading.current_thread", object)
        shop.task()
        assert len(drafts(shop.make())) == 1

    def test_celerys_event_goes_with_it_and_is_no_message_of_the_run(self, shop: Workshop) -> None:
        shop.app.conf.task_send_sent_event = True
        dispatch = shop.make()
        message, event = drafts(dispatch)
        assert (message.task_id, event.task_id) == ("run", None)
        assert event.exchange == "celeryev"
        assert dispatch.making is not None and dispatch.making.messages == 1

    def test_a_header_that_the_tasks_own_code_has_lost_is_put_back(self, shop: Workshop) -> None:
        def lose(own: Any, args: Any, kwargs: Any, given: dict[str, Any]) -> Any:
            return own(args, kwargs, task_id=given["task_id"], producer=given["producer"])

        shop.task(lose)
        dispatch = shop.make()
        [draft] = drafts(dispatch)
        assert draft.headers[KEY] == HEADER.dump()
        assert dispatch.unguarded is False

    def test_a_run_that_nobody_guards_has_no_header(self, shop: Workshop) -> None:
        dispatch = shop.make(header=None)
        [draft] = drafts(dispatch)
        assert KEY not in draft.headers
        assert dispatch.unguarded is False

    def test_a_retry_that_is_asked_for_asks_no_broker_yet(self, shop: Workshop) -> None:
        def retrying(own: Any, args: Any, kwargs: Any, given: dict[str, Any]) -> Any:
            return own(args, kwargs, **{**given, "retry": True})

        shop.task(retrying)
        assert len(drafts(shop.make())) == 1


class TestSeveral:
    """One fire that is meant for several executions."""

    def test_all_of_them_are_sent_each_under_an_id_of_its_own_and_none_is_guarded(self, shop: Workshop) -> None:
        def each(own: Any, args: Any, kwargs: Any, given: dict[str, Any]) -> None:
            for tenant in ("red", "blue", "green"):
                own(args, {"tenant": tenant}, **given)

        shop.task(each)
        dispatch = shop.make()
        found = drafts(dispatch)
        assert len({draft.task_id for draft in found}) == 3
        assert found[0].task_id == "run"
        for draft in found:
            assert KEY not in draft.headers
            assert draft.headers["id"] == draft.headers["root_id"] == draft.task_id
        assert dispatch.making is not None and dispatch.making.messages == 3
        assert dispatch.unguarded is True

    def test_another_tasks_message_is_sent_and_leaves_the_run_guarded(self, shop: Workshop) -> None:
        def audit(own: Any, args: Any, kwargs: Any, given: dict[str, Any]) -> Any:
            shop.app.send_task("audit", producer=given["producer"])
            return own(args, kwargs, **given)

        shop.task(audit)
        dispatch = shop.make()
        assert [draft.headers["task"] for draft in drafts(dispatch)] == ["audit", "t"]
        assert dispatch.unguarded is False

    def test_one_under_another_id_stands_for_no_run(self, shop: Workshop) -> None:
        def renamed(own: Any, args: Any, kwargs: Any, given: dict[str, Any]) -> Any:
            return own(args, kwargs, **{**given, "task_id": "other"})

        shop.task(renamed)
        dispatch = shop.make()
        [draft] = drafts(dispatch)
        assert (draft.task_id, KEY in draft.headers, dispatch.unguarded) == ("other", False, True)

    def test_a_queue_that_every_worker_has_its_own_of(self, shop: Workshop) -> None:
        shop.app.conf.task_queues = (Broadcast("everyone"), Queue("celery"))
        dispatch = shop.make(queue="everyone")
        [draft] = drafts(dispatch)
        assert (draft.exchange, KEY in draft.headers, dispatch.unguarded) == ("everyone", False, True)
        # Else a worker that comes later has to have declared it first.
        assert [(one.name, one.type) for one in draft.declare] == [("everyone", "fanout")]

    @pytest.mark.parametrize("given", [Exchange("all", type="fanout"), "all"])
    def test_an_exchange_that_copies_to_every_queue(self, shop: Workshop, given: Any) -> None:
        shop.app.conf.task_queues = (Queue("mine", Exchange("all", type="fanout")), Queue("celery"))
        assert shop.make(exchange=given, routing_key="x").unguarded is True
        # A queue's own name is a way past its exchange.
        assert shop.make("other", exchange="", routing_key="mine").unguarded is False

    def test_what_was_made_before_an_error_is_sent(self, shop: Workshop, caplog: pytest.LogCaptureFixture) -> None:
        def late(own: Any, args: Any, kwargs: Any, given: dict[str, Any]) -> Any:
            own(args, kwargs, **given)
            raise KeyError("after it")

        shop.task(late)
        assert len(drafts(shop.make())) == 1
        assert "its message was made before an error, and is sent: KeyError: 'after it'" in caplog.text


class TestNone:
    """A task whose code sends nothing: that is a skip, with what it returned."""

    @pytest.mark.parametrize(
        ("result", "words"),
        [
            (None, "its apply_async returned nothing"),
            (AsyncResult("queued-before"), "its apply_async returned the result of queued-before"),
            (EagerResult("x", 1, "SUCCESS"), "its apply_async executed it in the scheduler"),
            (False, "its apply_async returned a bool"),
        ],
        ids=["nothing", "another's result", "eager", "something else"],
    )
    def test_what_it_returned_is_the_reason(self, shop: Workshop, result: Any, words: str) -> None:
        shop.task(lambda own, args, kwargs, given: result)
        dispatch = shop.make()
        assert isinstance(dispatch.error, NotSentError)
        assert (str(dispatch.error), dispatch.making) == (words, None)

    @pytest.mark.parametrize(
        ("module", "name"),
        [
            ("celery_once.tasks", "AlreadyQueued"),
            ("celery_heimdall.errors", "AlreadyQueuedError"),
            ("celery_singleton.exceptions", "DuplicateTaskError"),
        ],
    )
    def test_a_guard_that_says_that_it_is_queued_already(self, shop: Workshop, module: str, name: str) -> None:
        error = type("Derived", (type(name, (Exception,), {"__module__": module}),), {})("for 59 s")

        def guard(*_: Any) -> None:
            raise error

        shop.task(guard)
        dispatch = shop.make()
        assert isinstance(dispatch.error, NotSentError)
        assert str(dispatch.error) == "its apply_async has refused it: Derived: for 59 s"

    def test_an_error_of_that_name_from_elsewhere_is_an_error(self, shop: Workshop) -> None:
        error = type("AlreadyQueued", (Exception,), {"__module__": "shop"})()

        def guard(*_: Any) -> None:
            raise error

        shop.task(guard)
        assert shop.make().error is error


class TestElsewhere:
    """A task whose code sends by another producer than the one that it is given."""

    @pytest.fixture
    def other(self, shop: Workshop) -> Workshop:
        """The same, with a broker that takes what goes past us."""
        shop.app.conf.broker_url = "memory://"
        return shop

    def test_one_with_all_that_it_was_given_is_accepted(self, other: Workshop) -> None:
        def past(own: Any, args: Any, kwargs: Any, given: dict[str, Any]) -> None:
            del given["producer"]
            own(args, kwargs, **given)

        other.task(past)
        dispatch = other.make()
        assert dispatch.making is not None
        assert (dispatch.making.drafts, dispatch.making.elsewhere, dispatch.unguarded) == ((), True, False)

    @pytest.mark.parametrize("kept", [{"task_id"}, {"headers"}, set()], ids=["no header", "another id", "neither"])
    def test_one_that_has_lost_its_run_is_unguarded(self, other: Workshop, kept: set[str]) -> None:
        def past(own: Any, args: Any, kwargs: Any, given: dict[str, Any]) -> None:
            own(args, kwargs, **{name: value for name, value in given.items() if name in kept})

        other.task(past)
        dispatch = other.make()
        assert dispatch.making is not None
        assert (dispatch.making.elsewhere, dispatch.unguarded, dispatch.error) == (True, True, None)

    def test_another_tasks_message_is_not_the_runs(self, other: Workshop) -> None:
        def audit(own: Any, args: Any, kwargs: Any, given: dict[str, Any]) -> None:
            other.app.send_task("audit")

        other.task(audit)
        assert isinstance(other.make().error, NotSentError)


class TestErrors:
    """Whatever is raised on the way is the job's own error."""

    @pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
    @pytest.mark.parametrize("stage", ["apply_async", "route", "options", "serializer", "monitor"])
    def test_at_each_stage(self, shop: Workshop, stage: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: Any, **__: Any) -> Any:
            raise error

        class Unwilling:
            __deepcopy__ = __json__ = fail

        options: dict[str, Any] = {"headers": {"x": Unwilling()}} if stage == "options" else {}
        args = [Unwilling()] if stage == "serializer" else []
        if stage == "route":
            shop.app.conf.task_routes = (fail,)
        if stage == "monitor":
            monkeypatch.setattr(Scheduler, "apply_entry", fail)
        shop.task(fail if stage == "apply_async" else None)
        dispatch = shop.make(args=args, **options)
        assert type(dispatch.error) is type(error) or error in (dispatch.error.__cause__, dispatch.error.__context__)
        assert (dispatch.making, dispatch.accepted) == (None, False)

    @pytest.mark.parametrize(
        "options",
        [
            {"serializer": "nobody-knows"},
            {"compression": "nobody-knows"},
            {"expires": object()},
            {"expires": "no moment"},
            {"eta": object()},
            {"countdown": "soon"},
            {"link": [object()]},
            {"queue": object()},
            {"exchange": object()},
            {"priority": object()},
            {"stamped_headers": ["nobody"]},
        ],
        ids=lambda options: next(iter(options)),
    )
    def test_options_that_celery_cannot_use(self, shop: Workshop, options: dict[str, Any]) -> None:
        shop.task()
        dispatch = shop.make(**options)
        assert (dispatch.error is None) is (dispatch.making is not None)
        assert dispatch.error is None or not isinstance(dispatch.error, NotSentError)

    @pytest.mark.parametrize(
        "signal", [signals.before_task_publish, signals.after_task_publish], ids=["before", "after"]
    )
    @pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
    def test_a_receiver_that_raises_changes_nothing(self, shop: Workshop, signal: Any, error: Exception) -> None:
        def fail(**_: Any) -> None:
            raise error

        signal.connect(fail)
        try:
            assert len(drafts(shop.make())) == 1
        finally:
            signal.disconnect(fail)

    def test_one_that_cannot_even_be_said(self, shop: Workshop) -> None:
        def fail(*_: Any) -> None:
            raise SilentError

        shop.task(fail)
        assert isinstance(shop.make().error, SilentError)
