"""The site under the faults: servers, beats and workers, each behind doors of its own; what dies is started again."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from celery_legion.embedded import EmbeddedValkey
from celery_legion.stores import open_store
from celery_legion.stores.base import Lead, Store, StoreOptions
from tests.faults.notebook import SCHEDULERS, Aims, Notebook
from tests.faults.workload import WORKLOADS, Workload
from tests.servers.polling import eventually
from tests.servers.processes import Process, Processes
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.tap import Tap

SCHEDULER_CLASSES = {
    "legion": "tests.faults.aimed:AimedScheduler",
    "redbeat": "redbeat.RedBeatScheduler",
    "beat": "celery.beat:PersistentScheduler",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a site consists of; times in seconds."""

    workload: str = "mixed"
    scheduler: str = "legion"
    beats: int = 3
    workers: int = 2
    concurrency: int = 2
    lease: float = 2.0
    run_lease: float = 3.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    worker_options: tuple[str, ...] = ()
    beat_env: Mapping[str, str] = field(default_factory=dict)
    rabbitmq: bool = False
    restart_after: float = 0.2

    @property
    def jobs(self) -> Workload:
        return WORKLOADS[self.workload]

    def app_settings(self) -> dict[str, Any]:
        """Return the app's settings for these times."""
        own: dict[str, Any] = {}
        if self.scheduler == "legion":
            quick = self.lease < 5
            own = {"legion_leader_lease": self.lease, "legion_run_lease": self.run_lease}
            own |= {"legion_store_timeout": 0.9, "legion_broker_timeout": 0.9} if quick else {}
        elif self.scheduler == "redbeat":
            own = {"redbeat_lock_timeout": self.lease, "beat_max_loop_interval": 0.5}
        return own | dict(self.settings)


class Doors:
    """One process' ways to its broker and its store."""

    def __init__(self, broker: tuple[str, int], store: tuple[str, int]) -> None:
        self.broker, self.store = Proxy(broker), Proxy(store)

    @property
    def both(self) -> tuple[Proxy, Proxy]:
        return self.broker, self.store

    def close(self) -> None:
        for proxy in self.both:
            proxy.close()


@dataclass(slots=True)
class Member:
    """A beat or a worker of the site: its process of the moment, its doors, and what its end may be."""

    role: str
    number: int
    doors: Doors
    process: Process
    expected: set[int] = field(default_factory=set)
    held: bool = False
    starts: int = 1

    @property
    def pid(self) -> int:
        return self.process.pid


class Site:
    """Starts at ``with``; its servers and processes are its own, so that nothing else is hurt.

    The broker and the store are two servers. A tap and the harness' own store connection go past all doors.
    """

    def __init__(self, setup: Setup, folder: Path) -> None:
        self.setup = setup
        self.folder = folder
        self.processes = Processes(folder)
        self.broker = EmbeddedValkey()
        self.server = EmbeddedValkey()
        self.rabbit = RabbitMQ() if setup.rabbitmq else None
        self.aims = Aims(folder / "aims")
        self.notebook = Notebook(folder / SCHEDULERS)
        self.notes: list[dict[str, Any]] = []
        self.members: list[Member] = []
        self.strays: list[str] = []
        self.deaths: dict[int, float] = {}
        """When each worker's main process was killed or ended (monotonic), by its process id."""
        self.timeline: list[dict[str, Any]] = []
        self.began = time.monotonic()
        self.since: int | None = None
        self.until: int | None = None
        """The window (ms) that is judged, where a scenario knows it better than the schedulers' notes."""
        self._lock = threading.RLock()
        self._tending = False
        self._thread: threading.Thread | None = None
        self.tap: Tap | None = None

    def __enter__(self) -> Self:
        try:
            self.server.start()
            if self.rabbit is None:
                self.broker.start()
                self.tap = Tap(self.broker.url(0))
            else:
                self.rabbit.start()
            self.store = self._open_store()
            for number in range(self.setup.workers):
                self.add("worker", number)
            for worker in self.workers:
                worker.process.wait_for(r"ready\.", 60)
            for number in range(self.setup.beats):
                self.add("beat", number)
            self._tending = True
            self._thread = threading.Thread(target=self._tend, daemon=True)
            self._thread.start()
            self.stand_by(self.setup.beats)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End everything that the site has started."""
        self.rest()
        self.processes.end()
        for member in self.members:
            member.doors.close()
        if self.tap is not None:
            self.tap.close()
        if hasattr(self, "store"):
            self.store.close()
        for server in (self.broker, self.server, self.rabbit):
            if server is not None:
                server.close()
        shutil.rmtree(self.folder / "aims", ignore_errors=True)

    @property
    def beats(self) -> list[Member]:
        return [member for member in self.members if member.role == "beat"]

    @property
    def workers(self) -> list[Member]:
        return [member for member in self.members if member.role == "worker"]

    @property
    def watched(self) -> bool:
        """Whether it is legion that schedules: then there is a ledger, and a watch in every beat."""
        return self.setup.scheduler == "legion"

    def add(self, role: str, number: int, *options: str, env: Mapping[str, str] | None = None) -> Member:
        """Start a beat or a worker behind doors of its own."""
        broker = self.broker.port if self.rabbit is None else self.rabbit.port
        doors = Doors(("127.0.0.1", broker), ("127.0.0.1", self.server.port))
        member = Member(role, number, doors, self._start(role, number, doors, *options, env=env))
        self.members.append(member)
        return member

    def adopt(self, server: EmbeddedValkey) -> None:
        """Take *server*, to which the store has failed over, for the store's."""
        self.server.close()
        self.server = server
        self.store.close()
        self.store = self._open_store()

    def _open_store(self) -> Store:
        return open_store(StoreOptions(url=self.server.url(1), prefix="faults", timeout=timedelta(seconds=5)))

    def environment(self, doors: Doors | None = None) -> dict[str, str]:
        """Return what the app needs to know, for a process behind *doors*, or behind none."""
        broker = self.broker.url(0) if self.rabbit is None else self.rabbit.url()
        store = self.server.url(1)
        if doors is not None:
            port = self.broker.port if self.rabbit is None else self.rabbit.port
            broker = broker.replace(f":{port}/", f":{doors.broker.port}/")
            store = store.replace(f":{self.server.port}/", f":{doors.store.port}/")
        return {
            "FAULTS_BROKER": broker,
            "FAULTS_STORE": store,
            "FAULTS_FOLDER": str(self.folder),
            "FAULTS_APP": self._told(self.setup.workload),
        }

    def _start(
        self, role: str, number: int, doors: Doors, *options: str, env: Mapping[str, str] | None = None
    ) -> Process:
        environment = self.environment(doors) | dict(env or {})
        if role == "beat":
            environment |= self.setup.beat_env
            scheduler = SCHEDULER_CLASSES[self.setup.scheduler]
            argv = ("beat", "-S", scheduler, "--loglevel", "INFO", "--pidfile=", *options)
        else:
            argv = ("worker", "--loglevel", "INFO", "--without-gossip", "--without-mingle", "--pool", "prefork")
            argv += ("-c", str(self.setup.concurrency), "-n", f"w{number}@faults", *self.setup.worker_options, *options)
        return self.processes.celery("tests.faults.app", *argv, env=environment)

    def _tend(self) -> None:
        """Start again what has ended, and write down what ended by itself."""
        while self._tending:
            with self._lock:
                for member in self.members:
                    if not member.held and not member.process.alive:
                        self._replace(member)
            time.sleep(0.05)

    def _replace(self, member: Member) -> None:
        code = member.process.wait()
        if code not in member.expected:
            self.strays.append(
                f"{member.role} {member.pid} ended by itself with {code}:\n{member.process.output[-1500:]}"
            )
        if member.role == "worker":
            self.deaths.setdefault(member.pid, time.monotonic())
        member.expected = set()
        time.sleep(self.setup.restart_after)
        member.process = self._start(member.role, member.number, member.doors)
        member.starts += 1

    def rest(self) -> None:
        """Tend no longer."""
        self._tending = False
        if self._thread is not None:
            self._thread.join(10)

    def hold(self, member: Member, held: bool = True) -> None:
        """Leave *member* dead for now, or let it be started again."""
        with self._lock:
            member.held = held

    def replace(self, member: Member, workload: str) -> None:
        """End a beat and start one with another version of the schedule in its place."""
        with self._lock:
            told = self.environment(member.doors) | {"FAULTS_APP": self._told(workload)}
            code = member.process.terminate()
            if code != 0:
                self.strays.append(f"beat {member.pid} ended with {code} on SIGTERM:\n{member.process.output[-1500:]}")
            member.process = self._start(member.role, member.number, member.doors, env=told)

    def _told(self, workload: str) -> str:
        setup = self.setup
        return json.dumps({"workload": workload, "scheduler": setup.scheduler, "settings": setup.app_settings()})

    def strike(self, member: Member, number: int, code: int | None = None) -> float:
        """Send a signal to *member*, whose end with *code* is wanted then; return when (monotonic)."""
        with self._lock:
            if code is not None:
                member.expected = {code}
            when = time.monotonic()
            if member.role == "worker" and number == signal.SIGKILL:
                self.deaths[member.pid] = when
            member.process.signal(number)
        return when

    def fault(self, name: str, **fields: Any) -> dict[str, Any]:
        """Write a fault into the timeline and return its line; its end is written by :meth:`healed`."""
        line = {"at": round(time.monotonic() - self.began, 3), "wall": time.time(), "fault": name, **fields}
        self.timeline.append(line)
        return line

    def healed(self, line: dict[str, Any]) -> None:
        """Write the end of a fault."""
        line["until"] = time.time()

    def look(self) -> list[dict[str, Any]]:
        """Return the schedulers' notes so far."""
        self.notes += self.notebook.read()
        return self.notes

    def wait_for_note(
        self, event: str, *, after: float, deadline: float, epoch: int = 0, **fields: Any
    ) -> dict[str, Any]:
        """Return the first note of *event* later than *after* (monotonic), under a later epoch than *epoch*."""

        def probe() -> dict[str, Any] | None:
            for note in self.look():
                if note["event"] != event or note["mono"] <= after or (note.get("epoch") or 0) <= epoch:
                    continue
                if all(note.get(name) == value for name, value in fields.items()):
                    return note
            return None

        found = eventually(probe, deadline, f"a note {event!r} {fields} under an epoch after {epoch}", pause=0.01)
        assert found is not None
        return found

    def beat_of(self, pid: int) -> Member:
        """Return the beat whose process is *pid*."""
        return next(member for member in self.beats if member.pid == pid)

    def leads(self) -> list[Lead]:
        """Return the living schedulers, the leader first."""
        return self.store.schedulers()

    def leader(self, deadline: float = 30.0) -> Member:
        """Return the beat that leads; a peer's is the one whose messages the broker had last."""
        if self.watched:
            return self.beat_of(self.stand_by(1, deadline)[0].info.pid)
        assert self.tap is not None
        tap = self.tap

        def probe() -> Member | None:
            pids = {member.pid: member for member in self.beats}
            return next((pids[row.pid] for row in reversed(tap.rows) if row.pid in pids), None)

        return eventually(probe, deadline, "a beat whose messages reach the broker")

    def stand_by(self, count: int, deadline: float = 60.0) -> list[Lead]:
        """Wait until *count* beats are there and one of them leads; return them, the leader first."""
        if not count:
            return []
        if not self.watched:
            for member in self.beats:
                member.process.wait_for(r"beat: Starting", deadline)
            return []

        def probe() -> list[Lead]:
            pids = {member.pid for member in self.beats}
            found = [lead for lead in self.leads() if lead.info.pid in pids]
            return found if len(found) >= count and found[0].epoch else []

        return eventually(probe, deadline, f"{count} beats that tick, one of which leads", pause=0.02)

    def eventually(self, probe: Callable[[], Any], deadline: float, what: str) -> Any:
        """Wait for *probe*; what does not come true is a stray, not the end of the scenario."""
        try:
            return eventually(probe, deadline, what)
        except AssertionError as exc:
            self.strays.append(str(exc))
            return None
