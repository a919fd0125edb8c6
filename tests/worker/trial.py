"""A trial: one broker and store, workers as processes, messages published by hand, and what came of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Celery

from celery_legion.command import TASK
from celery_legion.header import Header
from celery_legion.run import Kind, Record, State, run_id
from celery_legion.stores import open_store
from celery_legion.stores.base import Claim, Granted, Store, StoreOptions
from tests.servers.polling import eventually
from tests.servers.processes import Process, Processes

PREFIX = "trial"
QUICK_REDELIVERY = {"visibility_timeout": 4, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}


class Trial:
    """*redis_url* names a server whose databases 0, 1 and 2 become broker, store and results; *broker* is another."""

    def __init__(
        self,
        redis_url: str,
        processes: Processes,
        *,
        store_url: str | None = None,
        lease: float = 60,
        broker: str | None = None,
        transport: Mapping[str, Any] | None = None,
        prefetch: int = 4,
        commands: Mapping[str, Mapping[str, Any]] | None = None,
        hooks: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        base = redis_url.rstrip("/").removesuffix("/0")
        self.processes = processes
        self.ledger = processes.folder / "ledger.jsonl"
        self.store_url = store_url or f"{base}/1"
        self.env = {
            "TRIAL_BROKER": broker or f"{base}/0",
            "TRIAL_STORE": self.store_url,
            "TRIAL_RESULTS": f"{base}/2",
            "TRIAL_LEDGER": str(self.ledger),
            "TRIAL_LEASE": str(lease),
            "TRIAL_TRANSPORT": json.dumps(transport or {}),
            "TRIAL_PREFETCH": str(prefetch),
            "TRIAL_COMMANDS": json.dumps(commands or {}),
            "TRIAL_HOOKS": "1" if hooks else "",
            **(env or {}),
        }
        self.owes = frozenset(state for state in State if state.terminal) if hooks else frozenset()
        self.client = Celery("trial-client", broker=broker or f"{base}/0", backend=f"{base}/2", set_as_current=False)
        if broker is not None:
            self.client.conf.broker_transport_options = dict(transport or {})
        self.store: Store = open_store(StoreOptions(url=self.store_url, prefix=PREFIX))
        self.workers: list[Process] = []
        self._jobs = 0
        self._fire = datetime.now(UTC)

    def worker(self, *args: str, queue: str = "celery", app: str = "tests.worker.app", **env: str) -> Process:
        """Start a worker named by its number, ``w0@trial`` first, and wait until it is ready."""
        name = f"w{len(self.workers)}@trial"
        worker = self.processes.worker(app, "-n", name, "-Q", queue, *args, env={**self.env, **env})
        self.workers.append(worker)
        return worker

    def close(self) -> None:
        """Kill the workers that the test has left, at once: none of them has anything to lose any more."""
        for worker in self.workers:
            worker.kill_group()
        self.store.close()
        self.client.close()

    def claim(self, job: str | None = None, *, limit: int = 1) -> tuple[str, dict[str, Any]]:
        """Claim one fire of *job* (by default a new one); returns the run's id and its message's headers."""
        self._jobs += 1
        job = job or f"job-{self._jobs}"
        # Two claims may fall into one millisecond, and a fire has one id.
        self._fire = fire = max(datetime.now(UTC), self._fire + timedelta(milliseconds=1))
        run = run_id(PREFIX, job, fire)
        claim = Claim(
            job=job,
            fire_time=fire,
            mark=None,
            run_id=run,
            lock=job,
            limit=limit,
            message="{}",
            queue="celery",
            owes=self.owes,
        )
        [verdict] = self.store.claim([claim], "trial", None, timedelta(seconds=10))
        assert verdict.granted is Granted.RUN, verdict
        header = Header(
            job=job,
            fire_time=fire,
            kind=Kind.SCHEDULED,
            lock=job,
            limit=limit,
            lock_ttl=timedelta(hours=1),
            owes=self.owes,
        )
        return run, {"legion": header.dump()}

    def send(self, task: str, run: str, headers: Mapping[str, Any], kwargs: Any = None, **options: Any) -> None:
        self.client.send_task(f"tests.worker.app.{task}", kwargs=kwargs or {}, task_id=run, headers=headers, **options)

    def run(self, task: str, kwargs: Any = None, *, job: str | None = None, copies: int = 1, **options: Any) -> str:
        """Claim and publish one run, *copies* times under one id; returns the id."""
        run, headers = self.claim(job)
        for _ in range(copies):
            self.send(task, run, headers, kwargs, **options)
        self.store.sent([run])
        return run

    def command(self, job: str, *, limit: int = 1, **options: Any) -> str:
        """Claim and publish one run of a command's job, as the scheduler does; returns the id."""
        run, headers = self.claim(job, limit=limit)
        self.client.send_task(TASK, args=[job], task_id=run, headers=headers, shadow=job, **options)
        self.store.sent([run])
        return run

    def legion(self, *args: str) -> Process:
        """Start a command of the command line."""
        return self.processes.celery("tests.worker.app", "legion", *args, name="legion", env=self.env)

    def beat(self) -> Process:
        """Start a scheduler: it leads, reaps, and sends what hooks are owed."""
        beat = self.processes.beat("tests.worker.app", env=self.env)
        beat.wait_for("leads with epoch")
        self.workers.append(beat)
        return beat

    def lines(self, run: str | None = None, event: str | None = None) -> list[dict[str, Any]]:
        """Return what the tasks wrote, in order: of one run, of one event, or all."""
        if not self.ledger.exists():
            return []
        lines = [json.loads(line) for line in self.ledger.read_text().splitlines()]
        return [line for line in lines if run in (None, line["id"]) and event in (None, line["event"])]

    def count(self, event: str) -> Counter[str]:
        return Counter(line["id"] for line in self.lines(event=event))

    def started(self, run: str, times: int = 1, seconds: float = 15) -> None:
        eventually(lambda: len(self.lines(run, "start")) >= times, seconds, f"start {times} of run {run}")

    def record(self, run: str) -> Record:
        record = self.store.get(run)
        assert record is not None
        return record

    def ended(self, run: str, seconds: float = 15) -> Record:
        """Return the record of a run as soon as it has ended."""
        eventually(lambda: self.record(run).state.terminal, seconds, f"the end of run {run}, {self.record(run)}")
        return self.record(run)

    def still_open(self, runs: set[str]) -> set[str]:
        """Take the runs that have ended out of *runs* and return it."""
        runs.difference_update([run for run in runs if self.record(run).state.terminal])
        return runs

    def all_ended(self, runs: Sequence[str], state: State, seconds: float) -> None:
        for run in runs:
            deadline = seconds
            assert self.ended(run, deadline).state is state, self.record(run)

    def locked(self) -> set[str]:
        """Return the names of the locks that are held."""
        return {lock.name for lock in self.store.locks()}

    def logs(self) -> str:
        return "\n".join(worker.output for worker in self.workers)
