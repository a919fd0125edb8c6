"""Celery's contract for a scheduler class, and its traps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery, beat, signals
from celery.schedules import crontab, schedule

import celery_legion
from celery_legion import Legion
from celery_legion.beat import Entry, Scheduler
from celery_legion.context import Context
from celery_legion.errors import ConfigurationError, EagerTasksError
from celery_legion.stores.memory import MemoryStore


@pytest.fixture
def app() -> Iterator[Celery]:
    made = Celery("beat", broker="memory://", set_as_current=False)
    made.conf.update(
        legion_store_url="memory://beat",
        result_expires=None,
        beat_schedule={
            "nightly": {"task": "t", "schedule": crontab(hour=2, minute=30), "options": {"headers": {"a": {"b": 1}}}},
            "often": {"task": "t", "schedule": 1.0},
        },
    )
    Context.of(made).use_store(MemoryStore())
    yield made
    made.close()


@pytest.fixture
def published(app: Celery, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What reaches Celery's ``send_task``, instead of a broker."""
    sent: list[dict[str, Any]] = []

    def send_task(name: str, args: Any = None, kwargs: Any = None, **options: Any) -> None:
        sent.append({"name": name, "args": args, "kwargs": kwargs, **options})

    monkeypatch.setattr(app, "send_task", send_task)
    return sent


def push(app: Celery, scheduler: Scheduler, job: str = "often") -> None:
    from celery_legion.stores.base import Request

    Context.of(app).store.push(Request(id=f"push-{job}", body=f'{{"job": "{job}"}}'))
    scheduler.tick()


def test_it_is_found_by_its_public_name() -> None:
    assert celery_legion.Scheduler is Scheduler
    assert issubclass(Scheduler, beat.Scheduler)


def test_lazy_has_no_side_effects_and_its_info_never_fails(app: Celery) -> None:
    app.conf.legion_store_url = "redis://:secret@localhost:1/0"
    info = Scheduler(app, lazy=True).info

    assert "redis://:***@localhost:1/0" in info
    assert "secret" not in info

    app2 = Celery("x", broker="amqp://", set_as_current=False)
    assert Scheduler(app2, lazy=True).info == "    . store -> none, see the error below"


def test_what_cannot_work_is_refused_at_the_start(app: Celery) -> None:
    app.conf.task_always_eager = True
    with pytest.raises(EagerTasksError):
        Scheduler(app)

    other = Celery("x", broker="amqp://", set_as_current=False)
    with pytest.raises(ConfigurationError):
        Scheduler(other)


def test_tick_called_directly_never_blocks_and_returns_the_delay(app: Celery, published: list[Any]) -> None:
    scheduler = Scheduler(app)

    assert 0 <= scheduler.tick() <= 1.0
    assert 0 <= scheduler.tick() <= 1.0


def test_tick_waits_inside_when_a_beat_service_drives_it(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    service = beat.Service(app, scheduler_cls=Scheduler)
    scheduler = service.scheduler
    signals.beat_init.send(sender=service)
    waited = []
    monkeypatch.setattr(scheduler.engine, "wait", waited.append)

    assert scheduler.tick() == 0.0
    assert len(waited) == 1
    assert 0 < waited[0] <= 1.0


def test_another_services_start_does_not_make_it_wait(app: Celery) -> None:
    scheduler = Scheduler(app)
    signals.beat_init.send(sender=beat.Service(app, scheduler_cls=Scheduler))

    assert scheduler._driven is False


def test_every_dispatch_goes_through_apply_entry_with_one_positional_argument(
    app: Celery, published: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    original = beat.Scheduler.apply_entry

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        _, entry = args
        calls.append((entry.name, entry.schedule, sorted(kwargs)))
        return original(*args, **kwargs)

    monkeypatch.setattr(beat.Scheduler, "apply_entry", wrapped)
    scheduler = Scheduler(app)
    scheduler.tick()
    push(app, scheduler, "nightly")

    [(name, when, keywords)] = calls
    assert (name, keywords) == ("nightly", ["producer"])
    assert isinstance(when, crontab)


def test_a_dispatch_carries_its_run_and_leaves_the_users_options_alone(app: Celery, published: list[Any]) -> None:
    Legion(app)
    scheduler = Scheduler(app)
    scheduler.tick()
    push(app, scheduler, "nightly")

    [sent] = published
    assert sent["task_id"] == "push-nightly"
    assert sent["retry"] is False
    assert sent["headers"]["celery_beat_task"] is True
    assert sent["headers"]["legion_sent"] is True
    assert sent["headers"]["periodic_task_name"] == "nightly"
    assert sent["headers"]["legion"]["job"] == "nightly"
    assert app.conf.beat_schedule["nightly"]["options"] == {"headers": {"a": {"b": 1}}}
    sent["headers"]["a"]["b"] = 2
    assert app.conf.beat_schedule["nightly"]["options"]["headers"]["a"]["b"] == 1


def test_the_result_backend_is_kept_out_of_the_publish_path(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    from celery.result import task_join_will_block

    blocked = []
    monkeypatch.setattr(app, "send_task", lambda *args, **kwargs: blocked.append(task_join_will_block()))
    scheduler = Scheduler(app)
    scheduler.tick()
    push(app, scheduler)

    assert blocked == [True]
    assert task_join_will_block() is False


def test_a_message_that_cannot_be_sent_is_recorded_and_stops_nothing(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send_task(*args: Any, **kwargs: Any) -> None:
        raise TypeError("no JSON")

    monkeypatch.setattr(app, "send_task", send_task)
    scheduler = Scheduler(app)
    scheduler.tick()
    push(app, scheduler)

    record = Context.of(app).store.get("push-often")
    assert record is not None
    assert (record.state, record.reason) == ("failed", "unsendable")


def test_the_schedule_reads_as_celerys_entries(app: Celery) -> None:
    entries = Scheduler(app).schedule

    assert set(entries) == {"nightly", "often"}
    assert isinstance(entries["often"], beat.ScheduleEntry)
    assert entries["often"].schedule == schedule(timedelta(seconds=1))


def test_added_entries_become_jobs(app: Celery) -> None:
    scheduler = Scheduler(app)
    scheduler.add(name="extra", task="t", schedule=5.0)
    scheduler.update_from_dict({"more": {"task": "t", "schedule": 6.0}})

    assert {"extra", "more", "often"} <= set(scheduler.schedule)


def test_the_next_of_an_entry_is_the_entry_with_all_it_carries(app: Celery) -> None:
    entry = Entry(app=app, name="x", task="t", schedule=5.0)

    assert next(entry) is entry


def test_close_may_run_twice_and_before_any_tick(app: Celery) -> None:
    scheduler = Scheduler(app)
    scheduler.close()
    scheduler.close()

    ticked = Scheduler(app)
    ticked.tick()
    ticked.close()
    ticked.close()
    assert Context.of(app).store.schedulers() == []
