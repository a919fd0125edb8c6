"""Retries and replacements of a run: they carry on with it, and nothing of its job runs beside them."""

from __future__ import annotations

import pytest

from celery_legion.run import State
from tests.servers.polling import eventually
from tests.worker.trial import Trial

pytestmark = pytest.mark.e2e

FORMS = {"one": 0, "retry": 0, "twice": 2, "chain": 2, "group": 2, "chord": 2, "nested": 4, "add": 3}
"""What a task is replaced by, and how many steps that has under other ids."""


def test_a_replaced_run_ends_and_frees_its_lock_when_its_heir_has_ended(trial: Trial) -> None:
    trial.worker("-c", "4")
    runs = {form: trial.run("replaced_by", {"form": form}) for form in FORMS}
    traced = trial.run("retold")
    going = {run: trial.record(run).job for run in (*runs.values(), traced)}
    while going:
        locked = trial.locked()
        trial.still_open(ended := set(going))
        # What had not ended when the locks were read holds one of them.
        assert {going[run] for run in ended} <= locked
        going = {run: job for run, job in going.items() if run in ended}

    ends = {form: trial.record(run) for form, run in runs.items()}
    assert {(end.state, end.reason, end.error) for end in ends.values()} == {(State.SUCCEEDED, None, None)}
    assert {form: end.attempt for form, end in ends.items()} == {**dict.fromkeys(FORMS, 2), "retry": 3, "twice": 3}
    for form, run in runs.items():
        steps = [line["at"] for line in trial.lines(event="stepped") if line["root"] == run]
        heirs = [line["at"] for line in trial.lines(run, "start")][1:]
        assert (form, len(steps)) == (form, FORMS[form])
        assert max(steps, default=0) <= max(heirs, default=ends[form].ended_at.timestamp())  # type: ignore[union-attr]
    eventually(lambda: not trial.locked(), 5, "the locks")
    # A retry with headers of its own is the run's all the same.
    assert (trial.record(traced).state, trial.record(traced).attempt) == (State.SUCCEEDED, 3)
    assert trial.count("start")[traced] == 3


def test_a_step_that_fails_ends_the_run_whose_heir_never_begins(trial: Trial) -> None:
    trial.worker("-c", "2")
    run = trial.run("replaced_by", {"form": "broken"}, job="nightly")
    end = trial.ended(run)
    assert (end.state, end.reason, end.error) == (State.FAILED, None, "ValueError: a broken step")
    eventually(lambda: not trial.locked(), 5, "the lock")
    assert trial.count("start")[run] == 1
    assert trial.ended(trial.run("work", job="nightly")).state is State.SUCCEEDED
