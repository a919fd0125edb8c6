"""What a scheduler says, where it starts, of entries that other schedulers have left behind."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, signals
from redis import Redis

from celery_legion import Legion, Scheduler, leftovers
from celery_legion.stores.memory import MemoryStore


class Rows:
    """The rows of ``PeriodicTask`` as far as they are asked for."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.asked: dict[str, Any] = {}

    def filter(self, **asked: Any) -> Rows:
        self.asked = asked
        return self

    def order_by(self, field: str) -> Rows:
        return self

    def values_list(self, field: str, flat: bool) -> list[str]:
        return self.names


def install_django(
    monkeypatch: pytest.MonkeyPatch, rows: Rows, installed: bool = True, ready: bool = True
) -> list[str]:
    closed: list[str] = []
    model = SimpleNamespace(objects=rows)
    apps = SimpleNamespace(ready=ready, is_installed=lambda name: installed, get_model=lambda *names: model)
    connections = SimpleNamespace(close_all=lambda: closed.append("all"))
    monkeypatch.setitem(sys.modules, "django", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "django.apps", SimpleNamespace(apps=apps))
    monkeypatch.setitem(sys.modules, "django.db", SimpleNamespace(connections=connections))
    return closed


def app_on(broker: str = "memory://", **settings: Any) -> Celery:
    app = Celery("shop", broker=broker, set_as_current=False)
    app.conf.update(settings)
    return app


def leave(url: str, *names: str, prefix: str = "redbeat:") -> Redis:
    client = Redis.from_url(url)
    client.zadd(f"{prefix}:schedule", {f"{prefix}{name}": 1.0 for name in names})
    return client


def test_enabled_rows_that_are_no_jobs_are_counted_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows("celery.backend_cleanup", "moved", "row a", "row b")
    closed = install_django(monkeypatch, rows)
    said = leftovers.of_django(app_on(), {"moved"})

    assert said is not None
    assert said.startswith("2 enabled rows of django-celery-beat are scheduled by nobody here (row a, row b): ")
    assert "then disable the rows" in said
    assert rows.asked == {"enabled": True}
    assert closed == ["all"]


@pytest.mark.parametrize(("installed", "ready"), [(False, True), (True, False)])
def test_nothing_is_asked_of_a_django_that_has_no_such_app(
    monkeypatch: pytest.MonkeyPatch, installed: bool, ready: bool
) -> None:
    install_django(monkeypatch, Rows("a"), installed, ready)
    assert leftovers.of_django(app_on(), ()) is None


def test_rows_that_are_all_jobs_are_nothing_to_tell_of(monkeypatch: pytest.MonkeyPatch) -> None:
    install_django(monkeypatch, Rows("moved"))
    assert leftovers.of_django(app_on(), {"moved"}) is None


def test_entries_of_redbeat_that_are_no_jobs_are_counted_with_what_to_do(redis_url: str) -> None:
    leave(redis_url, "moved", "celery.backend_cleanup", *(f"entry {number}" for number in range(7)))
    said = leftovers.of_redbeat(app_on(redis_url), {"moved"})

    assert said is not None
    assert said.startswith("7 entries of RedBeat are scheduled by nobody here (entry 0, entry 1, entry 2, entry 3, ")
    assert "entry 4 and 2 more)" in said
    assert "delete the server's keys redbeat:*" in said


def test_a_redbeat_that_runs_is_told_of_first(redis_url: str) -> None:
    leave(redis_url, "tick", "row").set("redbeat::lock", "held")
    said = leftovers.of_redbeat(app_on(redis_url), {"tick"})

    assert said is not None
    assert said.startswith("a RedBeat scheduler runs beside this one and sends its 2 entries, ")
    assert said.endswith("(row)")


def test_redbeats_own_settings_say_where_its_entries_lie(redis_url: str) -> None:
    leave(redis_url, "row", prefix="mine:")
    app = app_on("amqp://localhost", redbeat_redis_url=redis_url, REDBEAT_KEY_PREFIX="mine:")
    said = leftovers.of_redbeat(app, ())

    assert said is not None
    assert said.startswith("1 entry of RedBeat is scheduled by nobody here (row)")


@pytest.mark.parametrize("broker", ["amqp://localhost", "memory://"])
def test_nothing_is_asked_where_there_is_no_such_server(broker: str) -> None:
    assert leftovers.of_redbeat(app_on(broker), ()) is None


def test_a_server_without_such_entries_is_nothing_to_tell_of(redis_url: str) -> None:
    Redis.from_url(redis_url).set("redbeat::lock", "left behind")
    assert leftovers.of_redbeat(app_on(redis_url), ()) is None


def test_a_scheduler_looks_once_when_its_service_starts_and_fails_for_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Unreadable(Rows):
        def values_list(self, field: str, flat: bool) -> list[str]:
            raise RuntimeError("no such table")

    app = app_on(result_expires=None)
    legion = Legion(app)
    legion.context.use_store(MemoryStore())
    legion.task("t").hourly().name("mine")
    started = type("Service", (), {})()
    started.__dict__.update(app=app, scheduler=Scheduler(app, lazy=True))
    watched = []
    monkeypatch.setattr(leftovers, "watch", lambda context: watched.append(context))
    signals.beat_init.send(sender=started)
    assert watched == [legion.context]

    monkeypatch.undo()
    closed = install_django(monkeypatch, Unreadable())
    monkeypatch.setattr(leftovers, "of_redbeat", lambda app, jobs: f"left: {sorted(jobs)}")
    leftovers.watch(legion.context).join(10)
    assert caplog.messages == ["left: ['mine']"]
    assert closed == ["all"]
