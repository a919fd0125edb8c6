"""Stand-ins for a unit's neighbours: a consumer, a clock, a store that answers as told, and real requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from celery import Celery
from celery.app.task import Context as TaskContext
from celery.bootsteps import RUN
from celery.worker.request import Request

from celery_legion.context import Context
from celery_legion.errors import StoreUnavailableError
from celery_legion.header import Header
from celery_legion.run import Kind, Record, State
from celery_legion.stores.base import (
    Admission,
    Answer,
    Kept,
    Lead,
    Outcome,
    Renewal,
    Retention,
    Store,
    Ticket,
    WorkerInfo,
)
from celery_legion.worker.begun import BegunRuns
from celery_legion.worker.gate import Gate
from celery_legion.worker.recorder import Recorder
from celery_legion.worker.request import Guard

FIRE = datetime(2026, 3, 1, 2, tzinfo=UTC)
HEADER = Header(
    job="nightly", fire_time=FIRE, kind=Kind.SCHEDULED, lock="nightly", limit=1, lock_ttl=timedelta(hours=1)
)
GO = Answer(admission=Admission.GO, token=7, attempt=2, previous_success=FIRE - timedelta(days=1))


class FakeClock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return FIRE + timedelta(seconds=self.seconds - 1000)

    def monotonic(self) -> float:
        return self.seconds


class FakeStore:
    """Answers what it was told; silent while ``silent`` is set. Remembers what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.silent = False
        self.tickets: list[Ticket] = []
        self.ended: list[tuple[str, int, Outcome]] = []
        self.parked: list[tuple[str, int, datetime, int]] = []
        self.left: list[tuple[str, int]] = []
        self.renewed: list[Renewal] = []
        self.kept: dict[str, Kept] = {}
        self.records: dict[str, Record] = {}
        self.workers: list[WorkerInfo] = []

    def _speak(self) -> None:
        if self.silent:
            raise StoreUnavailableError("fake://", "it is away")

    def schedulers(self) -> list[Lead]:
        self._speak()
        return []

    def begin(self, ticket: Ticket) -> Answer:
        self.tickets.append(ticket)
        self._speak()
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def end(self, run_id: str, token: int, outcome: Outcome, retention: Retention) -> bool:
        self._speak()
        self.ended.append((run_id, token, outcome))
        return True

    def park(self, run_id: str, token: int, until: datetime, retries: int) -> bool:
        self._speak()
        self.parked.append((run_id, token, until, retries))
        return True

    def leave(self, run_id: str, token: int, exit_code: int | None, output: str | None) -> bool:
        self._speak()
        self.left.append((run_id, token))
        return True

    def renew(self, worker: str, renewals: Sequence[Renewal], lease: timedelta) -> dict[str, Kept]:
        self._speak()
        self.renewed += renewals
        return {renewal.id: self.kept.get(renewal.id, Kept.OK) for renewal in renewals}

    def register(self, info: WorkerInfo, lease: timedelta) -> None:
        self._speak()
        self.workers.append(info)

    def get(self, run_id: str) -> Record | None:
        return self.records.get(run_id)


class FakeQoS:
    def __init__(self) -> None:
        self.value = 4

    def increment_eventually(self) -> None:
        self.value += 1

    def decrement_eventually(self) -> None:
        self.value -= 1


class FakeTimer:
    def __init__(self) -> None:
        self.calls: list[tuple[float, Any, tuple[Any, ...]]] = []

    def call_after(self, seconds: float, function: Any, args: tuple[Any, ...], priority: int = 0) -> object:
        self.calls.append((seconds, function, args))
        return object()

    def fire(self) -> None:
        calls, self.calls = self.calls, []
        for _, function, args in calls:
            function(*args)


class FakeBlueprint:
    state = RUN


class FakePool:
    pass


class FakeConsumer:
    def __init__(self, app: Celery) -> None:
        self.app = app
        self.hostname = "w@test"
        self.qos = FakeQoS()
        self.timer = FakeTimer()
        self.blueprint = FakeBlueprint()
        self.pool = FakePool()
        self.connection: Any = None
        self.conninfo = SimpleNamespace(supports_exchange_type=lambda _: True)
        self.requested: list[Any] = []

    def on_task_request(self, request: Any) -> None:
        self.requested.append(request)


class FakeMessage:
    """What Celery's Request takes from a kombu message."""

    content_type, content_encoding = "application/json", "utf-8"

    def __init__(self, headers: Mapping[str, Any], redelivered: bool = False) -> None:
        self.headers = dict(headers)
        self.body = b"[[], {}, {}]"
        self.payload: tuple[list[Any], dict[str, Any], dict[str, Any]] = ([], {}, {})
        self.properties: dict[str, Any] = {}
        self.delivery_info = {"redelivered": redelivered}


class Bench:
    """One app with a gate and a recorder on fakes."""

    def __init__(self, *answers: Answer) -> None:
        self.app = Celery("bench", broker="memory://", set_as_current=False)
        self.app.conf.update(legion_store_url="memory://bench", legion_key_prefix="bench")

        @self.app.task(name="job", shared=False)
        def job() -> None: ...

        self.app.finalize()
        self.task: Any = self.app.tasks["job"]
        self.clock = FakeClock()
        self.context = Context(self.app, self.clock)
        self.store = FakeStore(*answers)
        self.context.use_store(cast(Store, self.store))
        self.begun = BegunRuns()
        self.recorder = Recorder(self.context)
        self.gate = Gate(self.context, cast(Store, self.store), self.begun)
        self.consumer = FakeConsumer(self.app)
        self.gate.consumer = self.consumer
        self.guard = Guard(self.gate, self.recorder)
        self.acknowledged: list[str] = []
        self.header = HEADER

    def request(self, run_id: str = "run-1", header: object = ..., **headers: Any) -> Any:
        """Return a received request; with *header* None its message is none of legion's."""
        header = self.header if header is ... else header
        fields = {"id": run_id, "task": "job", "retries": 0, **headers}
        if header is not None:
            fields["legion"] = header.dump() if isinstance(header, Header) else header
        guarded = self.guard.over(Request)
        return guarded(
            FakeMessage(fields),
            on_ack=lambda *_: self.acknowledged.append(run_id),
            app=self.app,
            task=self.task,
            hostname="w@test",
        )

    def context_of(self, run_id: str = "run-1", **fields: Any) -> TaskContext:
        """Return a task's request as a pool process has it, of a begun run unless *fields* say otherwise."""
        header = {**HEADER.dump(), "token": 7, "attempt": 2, "previous": None}
        return TaskContext({"id": run_id, "task": "job", "retries": 0, "legion": header, **fields})


def record(run_id: str, state: State, token: int) -> Record:
    """Return a record as :meth:`FakeStore.get` may give it."""
    return Record(
        id=run_id, job="nightly", kind=Kind.SCHEDULED, fire_time=FIRE, last_fire_time=FIRE, state=state, token=token
    )
