"""Pushes: what is read of what anyone may have put into the inbox, and what is refused with a reason."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_legion.errors import LegionError
from celery_legion.job import Action, ActionKind, Job
from celery_legion.push import LONGEST, Push, PushError, check_push, read_push
from celery_legion.triggers import Cron

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
NEARLY = st.dictionaries(st.sampled_from(("job", "args", "kwargs", "id", "arg", "Job", "")) | st.text(), ANYTHING)


def job(name: str = "restock", kind: ActionKind = ActionKind.TASK) -> Job:
    return Job(name=name, action=Action("t", kind), trigger=Cron("* * * * *"))


def problem(body: str) -> str:
    with pytest.raises(PushError) as caught:
        read_push(body)
    assert str(caught.value) == f"the push cannot be handled: {caught.value.problem}"
    return caught.value.problem


class TestReading:
    """What is read, and what is not."""

    @pytest.mark.parametrize(
        ("body", "push"),
        [
            ('{"job": "a"}', Push(job="a")),
            (' \n{"job": "a", "args": null, "kwargs": null, "id": null}\n', Push(job="a")),
            ('{"job": "a", "args": []}', Push(job="a", args=())),
            ('{"job": "a", "args": [1, "x", [true]], "id": "i-1"}', Push(job="a", args=(1, "x", [True]))),
            ('{"job": "a", "kwargs": {}}', Push(job="a")),
            ('{"job": "a", "kwargs": {"n": {"m": 1.5}}}', Push(job="a", kwargs={"n": {"m": 1.5}})),
            ('{"job": ""}', Push(job="")),
        ],
    )
    def test_what_says_a_job_and_perhaps_arguments_is_read(self, body: str, push: Push) -> None:
        assert read_push(body) == push

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ("", "it is no JSON"),
            ("restock", "it is no JSON"),
            ('{"job": "a"', "it is no JSON"),
            ("{'job': 'a'}", "it is no JSON"),
            ('{"job": "a"} {"job": "b"}', "it is no JSON"),
            ('\ufeff{"job": "a"}', "it is no JSON"),
            ("[" * 200_000, "it is no JSON"),
            ('{"job": "a", "args": [' + "9" * 5000 + "]}", "it is no JSON"),
            ('{"job": "a", "args": [NaN]}', "NaN is no JSON number"),
            ('{"job": "a", "args": [Infinity]}', "Infinity is no JSON number"),
            ('{"job": "a", "kwargs": {"x": [-Infinity]}}', "-Infinity is no JSON number"),
            ("null", 'no JSON object with a "job"'),
            ('"a"', 'no JSON object with a "job"'),
            ('["a"]', 'no JSON object with a "job"'),
            ("{}", 'no JSON object with a "job"'),
            ('{"job": 5}', 'no JSON object with a "job"'),
            ('{"job": ["a"]}', 'no JSON object with a "job"'),
            ('{"Job": "a"}', 'no JSON object with a "job"'),
            ('{"job": "a", "args": "x"}', '"args" is no list'),
            ('{"job": "a", "args": {"x": 1}}', '"args" is no list'),
            ('{"job": "a", "args": 0}', '"args" is no list'),
            ('{"job": "a", "kwargs": []}', '"kwargs" is no object'),
            ('{"job": "a", "kwargs": false}', '"kwargs" is no object'),
            ('{"job": "a", "id": 7}', '"id" is no text'),
            ('{"job": "a", "id": {}}', '"id" is no text'),
        ],
    )
    def test_what_has_another_shape_is_refused_with_what_is_wrong(self, body: str, words: str) -> None:
        assert words in problem(body)
        assert "\n" not in problem(body)

    @pytest.mark.parametrize("number", ["1e999", "-1e400", "[1e309]"])
    def test_a_number_that_no_float_can_hold_is_refused_as_infinity_is(self, number: str) -> None:
        # Python's reader makes an infinity of it, and what is sent with one is no JSON that a worker must read.
        problem(f'{{"job": "a", "args": [{number}]}}')

    def test_an_unknown_key_is_refused_with_what_was_meant(self) -> None:
        said = problem('{"job": "a", "kwarg": {}}')
        assert said == "'kwarg' is no part of a push (did you mean 'kwargs'?); write job, args, kwargs, id"
        assert "did you mean" not in problem('{"job": "a", "countdown": 5}')

    def test_a_long_unknown_key_is_not_repeated_in_full(self) -> None:
        assert len(problem(json.dumps({"job": "a", "x" * 100_000: 1}))) < 200

    def test_as_many_characters_as_allowed_are_read_and_one_more_is_refused(self) -> None:
        body = json.dumps({"job": "a", "args": [""]})
        fill = "x" * (LONGEST - len(body))
        longest = json.dumps({"job": "a", "args": [fill]})
        assert len(longest) == LONGEST
        assert read_push(longest).args == (fill,)
        assert f"it has {LONGEST + 1} characters, and {LONGEST} are the most" in problem(longest + " ")

    @given(st.text())
    def test_of_any_text_comes_a_push_or_the_one_error(self, text: str) -> None:
        self.read(text)

    @given(ANYTHING | NEARLY | NEARLY.map(lambda data: {**data, "job": "a"}))
    def test_of_any_json_comes_a_push_or_the_one_error(self, data: Any) -> None:
        self.read(json.dumps(data))
        self.read(json.dumps(data, ensure_ascii=False))

    @given(st.binary())
    def test_of_any_bytes_as_a_store_shows_them_comes_a_push_or_the_one_error(self, data: bytes) -> None:
        for errors in ("replace", "surrogateescape", "backslashreplace"):
            self.read(data.decode("utf-8", errors))

    @staticmethod
    def read(body: str) -> None:
        problem = ""
        try:
            push = read_push(body)
        except PushError as exc:
            problem = exc.problem
        else:
            assert isinstance(push.job, str)
            assert push.args is None or isinstance(push.args, tuple)
            assert all(isinstance(name, str) for name in push.kwargs)
        assert len(problem) < 1000


class TestWriting:
    """What is written can be read, and what cannot be JSON is refused."""

    @given(st.text(), st.none() | st.lists(VALUES, max_size=3), st.dictionaries(st.text(), VALUES, max_size=3))
    def test_what_is_written_is_read_as_it_was(self, name: str, args: Any, kwargs: Any) -> None:
        push = Push(job=name, args=None if args is None else tuple(args), kwargs=kwargs)
        assert read_push(push.body()) == push

    def test_no_arguments_and_none_given_are_told_apart(self) -> None:
        assert json.loads(Push(job="a").body()) == {"job": "a"}
        assert json.loads(Push(job="a", args=()).body()) == {"job": "a", "args": []}

    def test_a_body_is_ascii_whatever_it_says(self) -> None:
        body = Push(job="größe", args=("日本", "\ud800", "\n\0")).body()
        assert body.isascii() and body.isprintable()
        assert read_push(body).args == ("日本", "\ud800", "\n\0")

    @pytest.mark.parametrize(
        "value",
        [float("nan"), float("inf"), object(), datetime(2026, 1, 1), b"x", {1, 2}, {(1, 2): 3}],
        ids=["nan", "infinity", "object", "datetime", "bytes", "set", "key"],
    )
    def test_what_json_cannot_hold_is_refused(self, value: Any) -> None:
        for push in (Push(job="a", args=(value,)), Push(job="a", kwargs={"x": value})):
            with pytest.raises(PushError, match="its arguments cannot be JSON"):
                push.body()

    def test_what_holds_itself_or_is_too_deep_is_refused(self) -> None:
        itself: list[Any] = []
        itself.append(itself)
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        for value in (itself, deep):
            with pytest.raises(PushError, match="its arguments cannot be JSON"):
                Push(job="a", args=(value,)).body()
        # Taken apart by hand: a list of this depth is more than the interpreter can drop or compare.
        while deep:
            deep = deep[0]

    def test_what_is_too_long_is_refused(self) -> None:
        with pytest.raises(PushError, match="send a reference to the data"):
            Push(job="a", args=("x" * LONGEST,)).body()


class TestChecking:
    """Whether a push fits the job that it names."""

    def test_the_job_is_returned(self) -> None:
        found = job()
        assert check_push(Push(job="restock", args=(1,), kwargs={"a": 2}), found) is found

    def test_a_command_takes_no_arguments(self) -> None:
        command = job(kind=ActionKind.COMMAND)
        assert check_push(Push(job="restock"), command) is command
        for push in (Push(job="restock", args=()), Push(job="restock", args=(1,)), Push(job="r", kwargs={"a": 1})):
            with pytest.raises(PushError, match="job 'restock' is a command, and takes no arguments"):
                check_push(push, command)

    def test_an_unknown_job_is_refused_with_what_was_meant(self) -> None:
        with pytest.raises(PushError, match=r"no job is named 'restok' \(did you mean 'restock'\?\)"):
            check_push(Push(job="restok"), None, ["restock", "backup"])
        with pytest.raises(PushError) as caught:
            check_push(Push(job="\x1b[31m" + "x" * 100_000), None, ["restock"])
        assert str(caught.value).isprintable() and len(str(caught.value)) < 300

    def test_it_is_a_mistake_of_the_user(self) -> None:
        assert isinstance(PushError("x"), LegionError) and isinstance(PushError("x"), ValueError)
        assert PushError("x").exit_code == 2
        assert PushError("it is so").args == ("it is so",)
