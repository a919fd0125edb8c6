"""Whose runs a worker serves: those of its own prefix, and of its scheduler's if it has only a name's."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from celery_legion.context import Context
from celery_legion.header import Header, HeaderError
from celery_legion.run import Kind, Reason, State
from celery_legion.stores import open_store
from celery_legion.stores.base import Claim, Outcome, SchedulerInfo, Store, StoreOptions
from celery_legion.worker.keyspace import ForeignRunError, Keyspace, end_elsewhere
from tests.worker.doubles import FIRE, HEADER

INFO = SchedulerInfo(app="a", fingerprint="", host="h", pid=1)
MINUTE = timedelta(minutes=1)
THEIRS = "legion:clock"


class Site:
    """A worker's app named ``tasks``, and the scheduler's keyspace with the run ``run-1``."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.app = Celery("tasks", broker=url, set_as_current=False)
        self.begun: Any = SimpleNamespace(live=list)
        self.theirs = self.under(THEIRS)
        claim = Claim(
            job="nightly", kind=Kind.PUSHED, fire_time=FIRE, mark=None, run_id="run-1", lock="nightly", limit=1
        )
        self.theirs.claim([claim], "me", None, MINUTE)
        self.theirs.sent(["run-1"])

    def under(self, prefix: str) -> Store:
        return open_store(StoreOptions(url=self.url, prefix=prefix))

    @property
    def keyspace(self) -> Keyspace:
        return Keyspace(self.context, self.begun, timedelta(seconds=1))

    @property
    def context(self) -> Context:
        return Context.of(self.app)


@pytest.fixture
def site(redis_url: str) -> Iterator[Site]:
    made = Site(redis_url)
    with closing(made.theirs):
        yield made


@pytest.mark.parametrize("prefix", [None, "legion:tasks"])
def test_a_run_of_its_own_or_of_an_older_scheduler_is_served(site: Site, prefix: str | None) -> None:
    assert site.keyspace.serves("run-2", prefix)
    assert site.context.config.key_prefix == "legion:tasks"


def test_a_name_s_prefix_gives_way_and_it_is_said_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert site.keyspace.serves("run-1", THEIRS)
        assert site.keyspace.serves("run-3", THEIRS)

    assert site.context.config.key_prefix == THEIRS
    record = site.context.store.get("run-1")
    assert record is not None and record.state is State.SENT
    [said] = caplog.messages
    assert "legion:clock from now on" in said and "legion:tasks" in said and "legion_key_prefix" in said


def test_a_run_that_the_store_does_not_know_there_moves_nobody(site: Site) -> None:
    with pytest.raises(ForeignRunError, match="no such run under the key prefix legion:forged"):
        site.keyspace.serves("run-1", "legion:forged")
    assert site.context.config.key_prefix == "legion:tasks"


def test_a_prefix_that_is_set_stays_and_the_run_ends_with_the_reason(site: Site) -> None:
    site.app.conf.legion_key_prefix = "mine"

    with pytest.raises(ForeignRunError, match=r"legion:clock.*mine.*same legion_key_prefix"):
        site.keyspace.serves("run-1", THEIRS)
    record = site.theirs.get("run-1")
    assert record is not None and (record.state, record.reason) == (State.FAILED, Reason.REJECTED)
    assert "mine" in (record.error or "")


def test_a_worker_with_a_scheduler_of_its_own_stays(site: Site) -> None:
    with closing(site.under("legion:tasks")) as own:
        own.pulse("own", MINUTE, 0, 0, INFO)

    with pytest.raises(ForeignRunError, match="legion:tasks"):
        site.keyspace.serves("run-1", THEIRS)
    assert site.context.config.key_prefix == "legion:tasks"


def test_what_runs_under_the_old_prefix_ends_first(site: Site) -> None:
    site.begun.live = lambda: [object()]

    assert not site.keyspace.serves("run-1", THEIRS)
    assert site.context.config.key_prefix == "legion:tasks"


def test_a_header_carries_the_prefix_and_one_without_is_read() -> None:
    data = HEADER.dump()
    assert "prefix" not in data
    assert Header.load(data).prefix is None
    assert Header.load({**data, "prefix": "legion:shop"}).prefix == "legion:shop"


@pytest.mark.parametrize("prefix", ["", "*", "a b", 5, ["a"], "{a}", "a\n"])
def test_a_prefix_that_is_none_makes_a_header_invalid(prefix: object) -> None:
    with pytest.raises(HeaderError, match="prefix"):
        Header.load({**HEADER.dump(), "prefix": prefix})


def test_a_run_whose_task_nobody_knows_ends_where_its_scheduler_looks(site: Site) -> None:
    outcome = Outcome(state=State.FAILED, reason=Reason.UNKNOWN_TASK)
    assert not end_elsewhere(site.context, "run-1", {}, outcome)
    assert not end_elsewhere(site.context, "run-1", {"prefix": "legion:tasks"}, outcome)
    assert not end_elsewhere(site.context, "run-1", {"prefix": "a*"}, outcome)
    assert end_elsewhere(site.context, "run-1", {"prefix": THEIRS}, outcome)
    record = site.theirs.get("run-1")
    assert record is not None and (record.state, record.reason) == (State.FAILED, Reason.UNKNOWN_TASK)
    assert site.context.config.key_prefix == "legion:tasks"
