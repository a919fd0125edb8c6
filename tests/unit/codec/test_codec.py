"""The evaluated message and its JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from celery.beat import BeatLazyFunc
from hypothesis import given
from hypothesis import strategies as st

from celery_legion.codec import CodecError, Message, decode, encode, evaluate
from celery_legion.job import Action, Job
from celery_legion.triggers import Cron

FIRE = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def job(**fields: object) -> Job:
    return Job(name="j", action=Action("shop.t"), trigger=Cron("* * * * *"), **fields)  # type: ignore[arg-type]


def test_expires_and_countdown_are_counted_from_the_claim_and_made_absolute() -> None:
    message = evaluate(job(options={"expires": 60, "countdown": timedelta(seconds=5), "priority": 3}, queue="q"), FIRE)

    assert dict(message.options) == {
        "expires": FIRE + timedelta(seconds=60),
        "eta": FIRE + timedelta(seconds=5),
        "priority": 3,
        "queue": "q",
    }


def test_an_absolute_expiry_stays() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)

    assert evaluate(job(options={"expires": moment}), FIRE).options["expires"] == moment


def test_lazy_arguments_are_called() -> None:
    message = evaluate(job(args=(1, BeatLazyFunc(lambda: 2)), kwargs={"a": BeatLazyFunc(lambda: 3)}), FIRE)

    assert (message.args, dict(message.kwargs)) == ((1, 2), {"a": 3})


def test_dates_decimals_and_uuids_come_back_as_they_were() -> None:
    message = Message(
        task="t",
        args=(FIRE, Decimal("1.10"), UUID(int=7)),
        kwargs={"when": FIRE},
        options={"expires": FIRE, "headers": {"a": [1, None]}},
    )

    assert decode(encode(message)) == message


SIMPLE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(args=st.lists(SIMPLE, max_size=4), kwargs=st.dictionaries(st.text(), SIMPLE, max_size=4))
def test_what_json_holds_comes_back_equal(args: list[object], kwargs: dict[str, object]) -> None:
    if any(isinstance(value, dict) and "__type__" in value for value in [*args, *kwargs.values()]):
        return
    message = Message(task="t", args=tuple(args), kwargs=kwargs)

    assert decode(encode(message)) == message


def test_what_only_pickle_could_send_is_refused() -> None:
    with pytest.raises(CodecError, match="JSON"):
        encode(Message(task="t", args=(object(),)))


@given(st.text() | SIMPLE.map(repr) | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_other_text_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(CodecError):
        decode(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"v": 2, "task": "t", "args": [], "kwargs": {}, "options": {}}',
        '{"v": 1, "task": 5, "args": [], "kwargs": {}, "options": {}}',
        '{"v": 1, "task": "t", "args": {}, "kwargs": {}, "options": {}}',
        '{"v": 1, "task": "t", "args": [], "kwargs": {}}',
        "[" * 20_000,
        '{"__type__": "os.system", "__value__": "true"}',
    ],
)
def test_unknown_versions_and_other_shapes_are_refused(text: str) -> None:
    with pytest.raises(CodecError):
        decode(text)
