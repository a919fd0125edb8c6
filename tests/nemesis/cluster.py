"""The cluster under the nemesis: a server, beats that can be aimed at, and workers; dead beats are started again."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from celery_legion.embedded import EmbeddedValkey
from celery_legion.run import Record
from celery_legion.stores import open_store
from celery_legion.stores.base import Lead, Pause, Store, StoreOptions
from tests.nemesis.notebook import SCHEDULERS, TASKS, Aims, Notebook
from tests.nemesis.workload import JOBS
from tests.servers.polling import eventually
from tests.servers.processes import Process, Processes

LEASE = 2.0
BEATS, WORKERS = 3, 2
WHOLE_LEDGER = 10_000


class Cluster:
    """Starts at ``with``; its server and its processes are its own, so that nothing else is hurt."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes = Processes(folder)
        self.server = EmbeddedValkey()
        self.aims = Aims(folder / "aims")
        self.notes: list[dict[str, Any]] = []
        self.beats: dict[int, Process] = {}
        self.workers: list[Process] = []
        self.strays: list[str] = []
        self._notebook = Notebook(folder / SCHEDULERS)

    def __enter__(self) -> Self:
        self.server.start()
        self.store: Store = open_store(
            StoreOptions(url=self.server.url(1), prefix="nemesis", timeout=timedelta(seconds=5))
        )
        self._env = {
            "NEMESIS_BROKER": self.server.url(0),
            "NEMESIS_STORE": self.server.url(1),
            "NEMESIS_FOLDER": str(self.folder),
            "NEMESIS_LEASE": str(LEASE),
        }
        try:
            self.workers = [self._start_worker(number) for number in range(WORKERS)]
            for worker in self.workers:
                worker.wait_for(r"ready\.", 40)
            for _ in range(BEATS):
                self.start_beat()
            self.stand_by(BEATS)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.processes.end()
        self.store.close()
        self.server.close()

    def _start_worker(self, number: int) -> Process:
        base = ("worker", "--loglevel", "INFO", "--without-gossip", "--without-mingle")
        return self.processes.celery(
            "tests.nemesis.app", *base, "--pool", "prefork", "-c", "2", "-n", f"w{number}@nemesis", env=self._env
        )

    def start_beat(self) -> Process:
        beat = self.processes.celery(
            "tests.nemesis.app",
            *("beat", "-S", "tests.nemesis.aimed:AimedScheduler", "--loglevel", "INFO", "--pidfile="),
            env=self._env,
        )
        self.beats[beat.pid] = beat
        return beat

    def restart(self, beat: Process, code: int) -> None:
        """Start another beat for one that should have ended with *code*, a moment after its end."""
        ended = beat.wait(10)
        if ended != code:
            self.strays.append(f"beat {beat.pid} ended with {ended}, not {code}:\n{beat.output[-1500:]}")
        del self.beats[beat.pid]
        time.sleep(0.2)
        self.start_beat()

    def note(self, event: str, **fields: Any) -> float:
        """Write a note between the schedulers' and return its time (monotonic)."""
        before = time.monotonic()
        self._notebook.write(event, **fields)
        return before

    def look(self) -> list[dict[str, Any]]:
        """Return the schedulers' notes so far."""
        self.notes += self._notebook.read()
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

    def leads(self) -> list[Lead]:
        """Return the living schedulers, the leader first."""
        return self.store.schedulers()

    def stand_by(self, count: int, deadline: float = 30.0) -> list[Lead]:
        """Wait until *count* beats are there and one of them leads; return them, the leader first."""

        def probe() -> list[Lead]:
            found = [lead for lead in self.leads() if lead.info.pid in self.beats]
            return found if len(found) >= count and found[0].epoch else []

        return eventually(probe, deadline, f"{count} beats that tick, one of which leads", pause=0.02)

    def drain(self) -> int:
        """Pause the schedule, wait until every run has ended, end all processes; return when it was paused (ms)."""
        paused = datetime.now(UTC)
        self.store.pause(Pause(name="*", since=paused, note="drained"))
        deadline = time.monotonic() + 20
        while (left := self._open()) and time.monotonic() < deadline:
            time.sleep(0.3)
        self.strays += left
        for beat in self.beats.values():
            code = beat.terminate()
            if code != 0:
                self.strays.append(f"beat {beat.pid} ended with {code} on SIGTERM:\n{beat.output[-1500:]}")
        for worker in self.workers:
            if not worker.alive:
                self.strays.append(f"worker {worker.pid} has ended:\n{worker.output[-1500:]}")
        for worker in self.workers:
            worker.terminate()
        for process in self.processes.started:
            if "Traceback (most recent call last)" in process.output:
                self.strays.append(f"{process.log.name} has a traceback:\n{process.output[-3000:]}")
        self.look()
        return int(paused.timestamp() * 1000)

    def _open(self) -> list[str]:
        """Return the locks that are held and the runs that have not ended."""
        locks = [f"lock {lock.name} is held: {lock.holders}" for lock in self.store.locks()]
        records = [record for job in JOBS for record in self.store.runs(job.name, 100)]
        return locks + [f"never ended: {record}" for record in records if not record.state.terminal]

    def ledger(self) -> dict[str, list[Record]]:
        """Return every job's whole ledger, oldest first."""
        return {job.name: self.store.runs(job.name, WHOLE_LEDGER)[::-1] for job in JOBS}

    def executions(self) -> list[dict[str, Any]]:
        """Return what the tasks wrote down."""
        return Notebook(self.folder / TASKS).read()

    def copies(self) -> int:
        """Return how many messages the workers say they dropped as copies."""
        return sum(worker.output.count("a copy is dropped") for worker in self.workers)
