"""The chore: what it writes down of a run in whose place another has run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults import chore


@pytest.mark.parametrize(("guarded", "last"), [(True, "refused"), (False, "end")])
def test_one_that_was_overtaken_while_it_stood_still_is_refused_where_runs_must_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guarded: bool, last: str
) -> None:
    monkeypatch.setattr(chore.time, "sleep", lambda _: chore.fenced(tmp_path, "j", 9))
    chore.do(tmp_path, {"job": "j", "token": 5}, 0.01, guarded)

    lines = [json.loads(line) for line in (tmp_path / chore.TASKS).read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", last]
