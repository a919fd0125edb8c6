"""What a shell is offered for the names of jobs and runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click
import pytest
from celery import Celery

from celery_legion import Legion
from celery_legion.cli import names
from celery_legion.cli.names import JobName, RunId
from celery_legion.context import Context
from celery_legion.run import Kind, Record, State


class Running:
    """A store that knows one running run."""

    def running(self) -> list[Record]:
        now = datetime(2026, 1, 1, tzinfo=UTC)
        return [
            Record(
                id="5d3a-run",
                job="nightly",
                kind=Kind.SCHEDULED,
                fire_time=now,
                last_fire_time=now,
                state=State.RUNNING,
            )
        ]


@pytest.fixture
def app() -> Celery:
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.result_expires = None
    app.conf.legion_store_url = "redis://127.0.0.1:1/0"
    legion = Legion(app)
    legion.task("shop.night").daily_at("02:00").name("nightly").description("at night")
    legion.task("shop.noon").daily_at("12:00").name("noon")
    return app


def offered(kind: click.ParamType, app: Any, incomplete: str) -> dict[str, str | None]:
    param = click.Argument(["job"], type=kind)
    root = click.Context(click.Group("celery"))
    root.params["app"] = app
    ctx = click.Context(click.Command("show", params=[param]), parent=root)
    return {item.value: item.help for item in param.shell_complete(ctx, incomplete)}


def test_the_names_of_jobs_are_offered_with_what_they_are(app: Celery) -> None:
    assert offered(JobName(), app, "n") == {"nightly": "at night", "noon": ""}
    assert offered(JobName(), app, "ni") == {"nightly": "at night"}
    assert offered(JobName(), app, "x") == {}


def test_running_runs_are_offered_before_jobs(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Context, "fresh_store", lambda self, timeout: Running())
    assert list(offered(RunId(), app, "")) == ["5d3a-run", "nightly", "noon"]
    assert offered(RunId(), app, "5") == {"5d3a-run": "nightly"}


def test_jobs_are_offered_where_the_store_is_away(app: Celery) -> None:
    assert list(offered(RunId(), app, "")) == ["nightly", "noon"]


@pytest.mark.parametrize("exc", [ZeroDivisionError(), SystemExit(3)])
def test_an_app_that_cannot_be_loaded_offers_nothing_and_says_nothing(
    exc: BaseException, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def find(app: str) -> None:
        print("noise")
        raise exc

    monkeypatch.setattr(names, "find_app", find)
    assert offered(JobName(), "nosuch", "") == {}
    assert offered(JobName(), None, "") == {}
    assert capfd.readouterr() == ("", "")
