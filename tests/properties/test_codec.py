"""The codec: what goes in comes out, and what is no message gives its own error and nothing else."""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from celery_legion.codec import VERSION, CodecError, Message, decode, encode, evaluate
from celery_legion.job import Action, Job
from celery_legion.triggers import Cron
from tests.properties.effort import PATIENCE, effort
from tests.properties.json_values import HOSTILE, VALUES, bent, written

pytestmark = PATIENCE

DATES = st.datetimes(timezones=st.none() | st.just(UTC))
KEPT = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | DATES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
"""What Celery's JSON keeps as it is, of what arguments may be."""

MAPPINGS = st.dictionaries(st.text(max_size=8), KEPT, max_size=4)
MESSAGES = st.builds(
    Message, task=st.text(), args=st.lists(KEPT, max_size=4).map(tuple), kwargs=MAPPINGS, options=MAPPINGS
)

NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "v": st.just(VERSION) | VALUES,
        "task": st.text(max_size=8) | VALUES,
        "args": st.lists(VALUES, max_size=3) | VALUES,
        "kwargs": st.dictionaries(st.text(max_size=5), VALUES, max_size=3) | VALUES,
        "options": st.dictionaries(st.text(max_size=5), VALUES, max_size=3) | VALUES,
        "more": VALUES,
    },
)
TYPED = st.fixed_dictionaries(
    {
        "__type__": st.sampled_from(
            ("datetime", "date", "time", "uuid", "decimal", "bytes", "base64", "os.system", "t")
        )
        | VALUES,
        "__value__": VALUES,
    }
)
"""What Celery's JSON marks as one of its own types."""


def problem_of(text: Any) -> str | None:
    """Return what the codec says of a text, None for one that it reads."""
    modules = set(sys.modules)
    said = None
    try:
        message = decode(text)
    except CodecError as exc:
        said = str(exc)
    assert set(sys.modules) == modules
    if said is not None:
        assert said.startswith("no message that can be kept: ")
        return said
    assert isinstance(message, Message)
    assert isinstance(message.task, str)
    assert isinstance(message.args, tuple)
    assert isinstance(message.kwargs, dict)
    return None


@given(MESSAGES)
@effort(150)
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    assert decode(encode(message)) == message


@given(
    st.sampled_from(("args", "kwargs", "options")),
    st.sampled_from((object(), {1, 2}, b"\xff", 1j, float, lambda: 1, Exception("x"), float("nan"), {(1,): 2})),
    KEPT,
)
@effort(60)
def test_what_json_cannot_hold_is_refused_or_comes_back_as_data(where: str, thing: object, beside: Any) -> None:
    parts: dict[str, Any] = {"args": (beside, thing)} if where == "args" else {where: {"a": beside, "b": [thing]}}
    try:
        text = encode(Message(task="t", **parts))
    except CodecError:
        return
    assert isinstance(decode(text), Message)


@given(st.integers(200, 5000))
@effort(10)
def test_deeply_nested_arguments_are_kept_or_refused(depth: int) -> None:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    try:
        text = encode(Message(task="t", args=(nested,)))
    except CodecError:
        return
    assert problem_of(text) is None or "cannot be read" in str(problem_of(text))


@given(st.text() | HOSTILE | written(VALUES | NEARLY) | bent(MESSAGES.map(encode)) | bent(written(NEARLY)))
@example(encode(Message(task="t")).replace('"v": 1', '"v": true'))
@effort(200)
def test_any_text_is_a_message_or_refused_with_the_codecs_error(text: str) -> None:
    problem_of(text)


@given(
    st.binary()
    | st.binary().map(lambda data: b'{"v": 1, "task": "' + data + b'"}')
    | MESSAGES.map(encode).map(str.encode)
)
@effort(60)
def test_any_bytes_are_a_message_or_refused_with_the_codecs_error(data: bytes) -> None:
    problem_of(data)


@given(st.sampled_from((2, 0, -1, 1.0, True, "1", [1], None)) | VALUES)
@effort(60)
def test_another_version_is_refused(version: Any) -> None:
    data = json.loads(encode(Message(task="t")))
    text = json.dumps({**data, "v": version})
    if type(version) is int and version == VERSION:
        assert problem_of(text) is None
    else:
        assert problem_of(text) is not None


@given(TYPED, st.sampled_from(("args", "kwargs", "options")))
@effort(100)
def test_a_type_that_a_text_names_is_never_imported(typed: dict[str, Any], where: str) -> None:
    data = json.loads(encode(Message(task="t")))
    data[where] = [typed] if where == "args" else {"a": typed}
    problem_of(json.dumps(data))


@given(
    st.dictionaries(
        st.sampled_from(("expires", "countdown", "priority", "eta", "headers")),
        KEPT | st.floats() | st.timedeltas(),
        max_size=4,
    ),
    st.lists(KEPT, max_size=3),
)
@effort(100)
def test_whatever_options_say_a_message_is_made_or_there_is_a_clear_error(
    options: dict[str, Any], args: list[Any]
) -> None:
    job = Job(name="j", action=Action("shop.t"), trigger=Cron("* * * * *"), args=tuple(args), options=options)
    try:
        message = evaluate(job, datetime(2026, 3, 1, tzinfo=UTC))
    except (CodecError, OverflowError, ValueError):
        # The engine takes what a user's own options raise, and ends the run as unsendable.
        return
    assert message.args == tuple(args)
    assert "countdown" not in message.options or message.options["countdown"] is None


@pytest.mark.parametrize("value", [UUID(int=3), Decimal("1.50"), date(2026, 3, 1), timedelta(1), datetime(2026, 3, 1)])
def test_each_kind_of_thing_that_celery_keeps_is_kept_or_refused(value: object) -> None:
    try:
        text = encode(Message(task="t", args=(value,)))
    except CodecError:
        return
    assert decode(text).args[0] == value or isinstance(value, date)
