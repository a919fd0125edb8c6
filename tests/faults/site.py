"""The site under the faults: a broker, a store, a crew, and what is seen of them from outside."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from celery_legion.embedded import EmbeddedValkey
from celery_legion.run import Record
from celery_legion.stores import open_store
from celery_legion.stores.base import Lead, Store, StoreOptions
from tests.faults.crew import Crew
from tests.faults.member import Doors, Member
from tests.faults.notebook import SCHEDULERS, Aims, Notebook
from tests.faults.setup import Setup
from tests.servers.polling import eventually
from tests.servers.tap import Tap

__all__ = ["Doors", "Ledger", "Member", "Setup", "Site"]


class Ledger(Protocol):
    """Records of a ledger that were read before they were trimmed."""

    def read(self) -> None:
        """Read the newest records."""

    def ledger(self) -> Mapping[str, list[Record]]:
        """Return all that was read, by job, oldest first."""


class Site(Crew):
    """Starts at ``with``; its servers are its own, as its processes are.

    The broker and the store are two servers. A tap and the harness' own store connection go past all doors.
    """

    def __init__(self, setup: Setup, folder: Path) -> None:
        super().__init__(setup, folder)
        self.aims = Aims(folder / "aims")
        self.notebook = Notebook(folder / SCHEDULERS)
        self.notes: list[dict[str, Any]] = []
        self.timeline: list[dict[str, Any]] = []
        self.began = time.monotonic()
        self.since: int | None = None
        self.until: int | None = None
        """The window (ms) that is judged, where a scenario knows it better than the schedulers' notes."""
        self.books: Ledger | None = None
        """What a scenario has read of a ledger that does not keep everything."""
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
            self.tend()
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
    def watched(self) -> bool:
        """Whether it is legion that schedules: then there is a ledger, and a watch in every beat."""
        return self.setup.scheduler == "legion"

    def adopt(self, server: EmbeddedValkey) -> None:
        """Take *server*, to which the store has failed over, for the store's."""
        self.server.close()
        self.server = server
        self.store.close()
        self.store = self._open_store()

    def _open_store(self) -> Store:
        return open_store(StoreOptions(url=self.server.url(1), prefix="faults", timeout=timedelta(seconds=5)))

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
