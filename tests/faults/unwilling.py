"""Jobs whose own code raises on the way to their message: at each stage, with the types that brokers raise, too.

Each is due at an instant of its own, so that nothing that passes beside it tells its error from the broker's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Task, signals
from celery.beat import BeatLazyFunc
from kombu import Queue
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

ERRORS: dict[str, type[Exception]] = {
    "key": KeyError,
    "redis": RedisConnectionError,
    "os": OSError,
    "operational": OperationalError,
}
"""What brokers raise when they have failed; here it is a user's own trouble."""

STAGES = ("lazy", "route", "options", "apply", "receiver", "serializer", "publish")

PERIOD = timedelta(seconds=3)
STEP = timedelta(milliseconds=90)

FULL = Queue("full", queue_arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
"""A queue that has room for one message, which nobody takes out."""

UNSENDABLE, SUCCEEDED = frozenset({"failed(unsendable)"}), frozenset({"sent(None)", "running(None)", "succeeded(None)"})


@dataclass(frozen=True)
class Unwilling:
    """Raises at the first thing that is done with it at *stage*."""

    stage: str
    error: type[Exception]

    def __json__(self) -> Any:
        raise self.error("it cannot be written")

    def __deepcopy__(self, memo: Any) -> Unwilling:
        if self.stage == "options":
            raise self.error("it cannot be copied")
        return self


def expected(rabbitmq: bool) -> dict[str, frozenset[str]]:
    """Return how the runs of each job may stand, by the job's name."""
    found = {f"{stage}-{kind}": UNSENDABLE for stage in STAGES for kind in ERRORS}
    # Celery itself takes what receivers raise.
    found |= {f"receiver-{kind}": SUCCEEDED for kind in ERRORS}
    found |= {"silent": frozenset({"skipped(not_sent)"}), "several": frozenset({"sent(unwatched)"})}
    found["unroutable"] = UNSENDABLE
    if rabbitmq:
        found["nacked"] = frozenset({"claimed(None)", "sent(None)", "expired(past_deadline)", "missed(broker)"})
    return found


def declare(legion: Any, app: Any, *, rabbitmq: bool) -> None:
    """Put them on the schedule, with their tasks, routes and receivers."""
    app.conf.task_routes = (_route,)
    signals.before_task_publish.connect(_receive, weak=False)
    phases = _phases()
    for stage in STAGES:
        for kind, error in ERRORS.items():
            name = f"faults.{stage}-{kind}"
            app.task(name=name, base=_task_class(error) if stage == "apply" else None, typing=False)(_nothing)
            job = legion.task(name, args=_arguments(stage, error)).name(f"{stage}-{kind}")
            if stage in ("options", "publish"):
                job = job.options(headers={"x": Unwilling(stage, error)})
            job.every(PERIOD, anchor=next(phases))
    app.task(name="faults.silent", base=Silent)(_nothing)
    app.task(name="faults.several", base=Several)(_nothing)
    for name in ("silent", "several"):
        legion.task(f"faults.{name}").name(name).every(PERIOD, anchor=next(phases))
    app.task(name="faults.idle")(_nothing)
    nowhere = {"exchange": "amq.direct", "routing_key": "nobody"}
    legion.task("faults.idle").options(**nowhere).name("unroutable").every(PERIOD, anchor=next(phases))
    if rabbitmq:
        app.conf.task_queues = (Queue("celery"), FULL)
        full = legion.task("faults.idle").options(queue="full").name("nacked").allow_overlapping()
        full.start_deadline("6s").every(PERIOD, anchor=next(phases))


def _phases() -> Iterator[datetime]:
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    while True:
        moment += STEP
        yield moment


def _arguments(stage: str, error: type[Exception]) -> list[Any]:
    if stage == "lazy":
        return [BeatLazyFunc(_raising(error))]
    return [Unwilling(stage, error)] if stage == "serializer" else []


def _raising(error: type[Exception]) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error("a user's own trouble")

    return fail


def _error_of(name: str, stage: str) -> type[Exception] | None:
    _, _, kind = name.partition(f"faults.{stage}-")
    return ERRORS.get(kind)


def _route(name: str, *_: Any, **__: Any) -> None:
    if (error := _error_of(name, "route")) is not None:
        raise error(name)


def _receive(sender: Any = None, **_: Any) -> None:
    if (error := _error_of(str(sender), "receiver")) is not None:
        raise error(str(sender))


def _nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


def _task_class(error: type[Exception]) -> type[Task]:
    return type("Failing", (Task,), {"abstract": True, "apply_async": _raising(error)})


class Silent(Task):
    """Sends nothing, and says nothing of it."""

    abstract = True

    def apply_async(self, *_: Any, **__: Any) -> None:
        return None


class Several(Task):
    """Sends a message for each of two tenants."""

    abstract = True

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> None:
        for tenant in ("red", "blue"):
            super().apply_async(args, {"tenant": tenant}, **options)
