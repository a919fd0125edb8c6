"""The runs that a worker has begun and still answers for."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celery.worker import state

from celery_legion.worker.acts import Launch


@dataclass(frozen=True, slots=True)
class Begun:
    """A begun run: its token, and the request that executes it as long as Celery has it."""

    run_id: str
    token: int
    request: weakref.ref[Any]

    @property
    def finished(self) -> bool:
        """Whether nothing of it is executed here any more."""
        request = self.request()
        if request is None:
            return True
        # Celery sets its start before it is among the active ones, and keeps it reserved until it is ready.
        gone = request not in state.active_requests and request not in state.reserved_requests
        return request.time_start is not None and gone


class BegunRuns:
    """Written by the gate and the recorder, read by the renewal thread; each step is one dictionary operation."""

    def __init__(self) -> None:
        self._runs: dict[str, Begun] = {}
        self._launches: dict[str, Launch] = {}
        self._doomed: dict[str, int] = {}
        self._lingering: dict[str, Callable[[], bool]] = {}
        self._executed: set[str] = set()

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._runs

    def add(self, request: Any, token: int) -> None:
        """Answer for *request* from now on, in place of an earlier attempt of its run."""
        self._forget(request.id)
        self._runs[request.id] = Begun(request.id, token, weakref.ref(request))

    def tokens(self) -> dict[str, int]:
        """Return under which tokens runs have begun here."""
        return {begun.run_id: begun.token for begun in list(self._runs.values())}

    def drop(self, run_id: str, token: int) -> None:
        """Answer for it no more, unless a later attempt has begun."""
        begun = self._runs.get(run_id)
        if begun is not None and begun.token == token:
            self._runs.pop(run_id, None)
            self._forget(run_id)

    def _forget(self, run_id: str) -> None:
        self._launches.pop(run_id, None)
        self._doomed.pop(run_id, None)
        self._lingering.pop(run_id, None)
        self._executed.discard(run_id)

    def doom(self, run_id: str, number: int) -> None:
        """Note by which signal a command shall be ended that has not been launched yet."""
        self._doomed[run_id] = number

    def doom_of(self, run_id: str) -> int | None:
        """Return by which signal a command was to be ended before it was launched, None if by none."""
        return self._doomed.get(run_id)

    def execute(self, run_id: str) -> None:
        """Note that a run's code is executed in this very process."""
        if run_id in self._runs:
            self._executed.add(run_id)

    def executes(self, run_id: str) -> bool:
        """Whether a run's code is executed in this very process."""
        return run_id in self._executed

    def linger(self, run_id: str, alive: Callable[[], bool]) -> None:
        """Answer for a run although Celery takes it for terminated: its code is told to end, and may go on for long.

        That is while *alive* says so.
        """
        self._lingering[run_id] = alive

    def lingers(self, run_id: str) -> bool:
        """Whether a run was terminated whose code goes on."""
        return run_id in self._lingering

    def launched(self, launch: Launch) -> Begun | None:
        """Note which processes a run's command has; None if it is over already."""
        begun = self._runs.get(launch.run_id)
        if begun is None or begun.token != launch.token:
            return None
        self._launches[launch.run_id] = launch
        return begun

    def launch_of(self, run_id: str) -> Launch | None:
        """Return which processes a run's command has, None if it is no command or not launched yet."""
        return self._launches.get(run_id)

    def live(self) -> list[Begun]:
        """Return what is still executed, and forget what is not."""
        live = []
        for begun in list(self._runs.values()):
            alive = self._lingering.get(begun.run_id)
            if not alive() if alive is not None else begun.finished:
                self.drop(begun.run_id, begun.token)
            else:
                live.append(begun)
        return live
