"""Polling: the first true answer, or a failure that shows the last one."""

from __future__ import annotations

import pytest

from tests.servers.polling import eventually


def test_the_first_true_answer_is_returned() -> None:
    answers = iter([0, "", "there"])

    assert eventually(lambda: next(answers), pause=0) == "there"


def test_a_failure_names_what_was_awaited_and_shows_what_was_found_last() -> None:
    with pytest.raises(AssertionError, match=r"three runs; last found: \[\]"):
        eventually(list, deadline=0, what="three runs", pause=0)


def test_an_error_of_the_probe_itself_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        eventually(lambda: 1 / 0)
