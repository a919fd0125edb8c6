"""The processes of a site: beats and workers, each behind doors of its own; what dies is started again."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from celery_legion.embedded import EmbeddedValkey
from tests.faults.member import Doors, Member
from tests.faults.setup import Setup
from tests.servers.processes import Process, Processes
from tests.servers.rabbitmq import RabbitMQ

KOMBU = "in _connparams"
"""Where kombu's Redis transport fails when a connection is gone, with legion or without."""


class Crew:
    """Starts members behind doors of their own, and starts again what ends, from :meth:`tend` to :meth:`rest`.

    Its processes are its own, so that nothing else is hurt.
    """

    def __init__(self, setup: Setup, folder: Path) -> None:
        self.setup = setup
        self.folder = folder
        self.processes = Processes(folder)
        self.broker = EmbeddedValkey()
        self.server = EmbeddedValkey()
        self.rabbit = RabbitMQ() if setup.rabbitmq else None
        self.members: list[Member] = []
        self.strays: list[str] = []
        """What should not have happened to the processes."""
        self.allowed: set[int] = set()
        """How any member may end while a scenario does not know yet which one it will be."""
        self.crashes = 0
        """How many workers ended as Celery's do when they lose a Redis broker with messages in their hands."""
        self.deaths: dict[int, float] = {}
        """When each worker's main process was killed or ended (monotonic), by its process id."""
        self._lock = threading.RLock()
        self._tending = False
        self._thread: threading.Thread | None = None

    @property
    def beats(self) -> list[Member]:
        return [member for member in self.members if member.role == "beat"]

    @property
    def workers(self) -> list[Member]:
        return [member for member in self.members if member.role == "worker"]

    def add(self, role: str, number: int, *options: str, env: Mapping[str, str] | None = None) -> Member:
        """Start a beat or a worker behind doors of its own."""
        broker = self.broker.port if self.rabbit is None else self.rabbit.port
        doors = Doors(("127.0.0.1", broker), ("127.0.0.1", self.server.port))
        member = Member(role, number, doors, self._start(role, number, doors, *options, env=env))
        self.members.append(member)
        return member

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
            "FAULTS_APP": self.setup.told(),
        }

    def _start(
        self, role: str, number: int, doors: Doors, *options: str, env: Mapping[str, str] | None = None
    ) -> Process:
        environment = self.environment(doors) | dict(env or {})
        if role == "beat":
            environment |= self.setup.beat_env
        return self.processes.celery("tests.faults.app", *self.setup.command(role, number, *options), env=environment)

    def tend(self) -> None:
        """Begin to start again what ends."""
        self._tending = True
        self._thread = threading.Thread(target=self._tend, daemon=True)
        self._thread.start()

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
        if member.role == "worker" and code == 1 and KOMBU in member.process.output[-8000:]:
            self.crashes += 1
        elif code not in member.expected | self.allowed:
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
            told = self.environment(member.doors) | {"FAULTS_APP": self.setup.told(workload)}
            code = member.process.terminate()
            if code != 0:
                self.strays.append(f"beat {member.pid} ended with {code} on SIGTERM:\n{member.process.output[-1500:]}")
            member.process = self._start(member.role, member.number, member.doors, env=told)

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
