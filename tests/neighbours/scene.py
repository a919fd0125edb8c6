"""One visit: an app's beat, workers and commands in a neighbour's environment, and what was found there."""

from __future__ import annotations

import copy
import json
import re
import statistics
import subprocess
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from celery_legion.embedded import EmbeddedValkey
from celery_legion.run import Record, State
from celery_legion.stores import open_store
from celery_legion.stores.base import Store, StoreOptions
from tests.acceptance.ledger import Ledger
from tests.servers.patience import patient
from tests.servers.polling import eventually
from tests.servers.processes import ROOT, Process, Processes
from tests.servers.rabbitmq import RabbitMQ

PREFIX = "legion:neighbours"
RAISED = re.compile(r"^Traceback|Signal handler .* raised|Unrecoverable error", re.MULTILINE)
CLEANUP = "celery.backend_cleanup"


class Scene:
    """Starts servers at ``with``, and whatever a visit asks for afterwards; ends everything.

    What is wrong is collected by :meth:`expect`, so that one visit tells all of it. A *brief* one waits for fewer runs.
    """

    def __init__(
        self, python: Path, folder: Path, module: str, *, rabbitmq: bool = False, brief: bool = False, **env: str
    ) -> None:
        self.brief = brief
        self.python = python
        self.module = f"tests.neighbours.apps.{module}"
        self.folder = folder
        self.server = EmbeddedValkey()
        self.rabbitmq = RabbitMQ() if rabbitmq else None
        self.processes = Processes(folder, python=str(python))
        self.ledger = Ledger(folder / "ledger.jsonl")
        self.wrong: list[str] = []
        self.notes: list[str] = []
        self.env = env

    def __enter__(self) -> Self:
        self.server.start()
        try:
            if self.rabbitmq is not None:
                self.rabbitmq.start()
            self.store: Store = open_store(StoreOptions(url=self.server.url(1), prefix=PREFIX))
        except BaseException:
            self._stop_servers()
            raise
        self.env = {
            "NEIGHBOUR_BROKER": self.rabbitmq.url() if self.rabbitmq is not None else self.server.url(0),
            "NEIGHBOUR_STORE": self.server.url(1),
            "NEIGHBOUR_RESULTS": self.server.url(2),
            "NEIGHBOUR_REDIS": self.server.url(3),
            "NEIGHBOUR_PREFIX": PREFIX,
            "NEIGHBOUR_LEDGER": str(self.ledger.path),
            "NEIGHBOUR_FOLDER": str(self.folder),
            "PATH": f"{self.python.parent}:/usr/bin:/bin",
            **self.env,
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.processes.end()
        self.store.close()
        self._stop_servers()

    def _stop_servers(self) -> None:
        self.server.close()
        if self.rabbitmq is not None:
            self.rabbitmq.close()

    def redis(self, db: int = 3) -> Any:
        """Return a client of one of the server's databases."""
        return redis.Redis.from_url(self.server.url(db), decode_responses=True)

    def beat(self, *wrapper: str, env: dict[str, str] | None = None) -> Process:
        """Start a scheduler and wait until it leads."""
        beat = self.spawn("beat", "-S", "celery_legion.Scheduler", "-l", "INFO", "--pidfile=", wrapper=wrapper, env=env)
        beat.wait_for("leads with epoch", 30)
        return beat

    def worker(self, *args: str, wrapper: Sequence[str] = (), env: dict[str, str] | None = None) -> Process:
        """Start a worker and wait until it is ready."""
        options = ("-l", "INFO", "-c", "4", "--without-gossip", "--without-mingle")
        worker = self.spawn("worker", *options, *args, wrapper=wrapper, env=env)
        worker.wait_for(r"ready\.", 40)
        return worker

    def spawn(self, *args: str, wrapper: Sequence[str] = (), env: dict[str, str] | None = None) -> Process:
        """Start ``celery -A …`` with *args* and return at once."""
        argv = (*wrapper, str(self.python), "-m", "celery", "-A", self.module, *args)
        return self.processes.start(*argv, name=args[0], env={**self.env, **(env or {})})

    def aside(self, name: str) -> Self:
        """Return a scene on the same servers with a prefix and a ledger of its own; it ends with this one."""
        other = copy.copy(self)
        prefix = f"{PREFIX}:{name}"
        other.ledger = Ledger(self.folder / f"{name}.jsonl")
        other.store = open_store(StoreOptions(url=self.server.url(1), prefix=prefix))
        other.env = {**self.env, "NEIGHBOUR_PREFIX": prefix, "NEIGHBOUR_LEDGER": str(other.ledger.path)}
        return other

    def run(self, *argv: str, stop: float | None = None, env: dict[str, str] | None = None) -> tuple[int, str]:
        """Run the environment's Python with *argv*; returns its exit code and all that it printed.

        With *stop* it is ended by SIGTERM after so many seconds.
        """
        process = self.processes.start(str(self.python), *argv, name="run", env={**self.env, **(env or {})})
        if stop is not None:
            try:
                process.popen.wait(stop)
            except subprocess.TimeoutExpired:
                process.terminate()
        return process.wait(60), process.output

    def legion(self, *args: str, **options: Any) -> tuple[int, str]:
        """Run one of our commands."""
        return self.run("-m", "celery", "-A", self.module, "legion", *args, **options)

    def commands(self, *lines: str) -> None:
        """Run these command lines one after the other; each has to end well, without a trace-back."""
        for line in lines:
            self._ends_well(line, *self.legion(*line.split()))

    def look(self, *lines: str) -> None:
        """Run these command lines, which change nothing, all at a time; each has to end well."""
        argv = ("-m", "celery", "-A", self.module, "legion")
        started = [
            (line, self.processes.start(str(self.python), *argv, *line.split(), name="look", env=self.env))
            for line in lines
        ]
        for line, process in started:
            self._ends_well(line, process.wait(60), process.output)

    def _ends_well(self, line: str, code: int, output: str) -> None:
        well = code == 0 and not RAISED.search(output)
        self.expect(well, f"`legion {line}` ends with {code}: {last_line(output)}")

    def expect(self, right: object, wrong: str) -> None:
        """Note *wrong* unless *right* is true."""
        if not right:
            self.wrong.append(wrong)

    def note(self, words: str) -> None:
        """Say *words* in the line of this visit."""
        self.notes.append(words)

    def records(self, job: str) -> list[Record]:
        """Return what the store knows of a job's fires, oldest first."""
        return sorted(self.store.runs(job, 1000), key=lambda record: record.fire_time)

    def runs(self, job: str, state: State | None = None) -> list[Record]:
        """Return the records that are runs, of one state or all."""
        return [one for one in self.records(job) if one.id and state in (None, one.state)]

    def starts(self, job: str) -> list[dict[str, Any]]:
        """Return what executions of *job* wrote down."""
        return self.ledger.starts(job)

    def until(self, job: str, times: int, seconds: float = 30) -> None:
        """Wait for that many executions of *job*; what is missing then is noted as wrong."""
        try:
            eventually(lambda: len(self.starts(job)) >= times, seconds, f"execution {times} of {job}")
        except AssertionError:
            self.wrong.append(
                f"{job} was executed {len(self.starts(job))} times in {patient(seconds):g} s, not {times}"
            )

    def close_beat(self, beat: Process, seconds: float = 12) -> None:
        """End the scheduler, and wait until every run that it has sent is over."""
        code = beat.terminate()
        self.expect(code == 0, f"beat ended with {code}: {last_line(beat.output)}")
        try:
            eventually(lambda: not self._open(), seconds, "no open runs")
        except AssertionError:
            self.wrong.append(f"still open after beat's end: {sorted(self._open())}")

    def _open(self) -> list[tuple[str, str]]:
        records = self.store.runs(None, 1000)
        # A scheduler that is ended may leave what it has claimed to the next one.
        sent = [one for one in records if not one.state.terminal and one.state is not State.CLAIMED]
        waiting = [one for one in sent if one.reason != "unwatched"]
        return [(one.job, one.state.value) for one in waiting if one.job != CLEANUP]

    def fires_right(self, job: str, every: float, *, attempts: int = 1, least: int = 3, within: float = 1.5) -> None:
        """Expect that *job* fired on time, once each, and that each run is recorded as succeeded.

        *attempts* is how often each run is executed, under its own id each time.
        """
        records = self.records(job)
        if records and records[-1].state is State.CLAIMED:
            records.pop()
        self.expect(len(records) >= least, f"{job} has {len(records)} records, not {least}")
        states = Counter((one.state.value, one.reason) for one in records)
        self.expect(
            set(states) <= {("succeeded", None)},
            f"{job} is recorded as {', '.join(f'{words(*state)} {n} times' for state, n in states.items())}",
        )
        fires = [one.fire_time.timestamp() for one in records]
        gaps = [round(later - sooner, 3) for sooner, later in pairwise(fires)]
        self.expect(all(gap == every for gap in gaps), f"{job} has gaps of {sorted(set(gaps))} s, not of {every:g} s")
        begun = self.starts(job)
        times = Counter(line.get("id") for line in begun)
        expected = {one.id: attempts for one in records}
        unlike = {run: n for run, n in times.items() if n != expected.get(run)}
        self.expect(not unlike, f"{job}: executed {sorted(unlike.items(), key=str)[:4]} times, not {attempts} each")
        self.expect(set(expected) <= set(times), f"{job}: {len(set(expected) - set(times))} runs were never executed")
        late = self.lateness(job)
        self.expect(late and late[-1] <= patient(within), f"{job} began {late[-1] if late else 0:.2f} s late")

    def lateness(self, job: str, since: float = 0, until: float = float("inf")) -> list[float]:
        """Return by how much each run began after its fire, sorted; of fires between two moments, or of all."""
        first: dict[str, float] = {}
        for line in self.starts(job):
            if line.get("id") and since <= line["fire"] <= until:
                first.setdefault(line["id"], line["at"] - line["fire"])
        return sorted(first.values())

    def main_job(self, beat: Process) -> None:
        """Wait until the jobs that every app has have run some times, end the scheduler, and judge them."""
        self.until("tick", 2 if self.brief else 4)
        self.until("again", 2 if self.brief else 4)
        self.close_beat(beat)
        self.standard_jobs()

    def standard_jobs(self) -> None:
        """Judge the jobs that every app has, after the scheduler's end."""
        self.fires_right("tick", 2, least=2 if self.brief else 4)
        self.fires_right("again", 4, attempts=2, least=1 if self.brief else 2)
        echoes = {one.state.value for one in self.runs("echo")}
        self.expect(echoes == {"succeeded"}, f"the command was recorded as {sorted(echoes)}")

    def quiet(self, process: Process, *allowed: str) -> None:
        """Expect that the log of *process* has no trace-back and no receiver that raised."""
        text = process.output
        for found in RAISED.finditer(text):
            said = " ".join(text[found.start() : found.start() + 2000].split())
            if not any(re.search(one, said) for one in allowed):
                self.wrong.append(f"the log of {process.log.name} has: {said[:400]}")
                return


def words(state: str, reason: str | None) -> str:
    """Return a state as it is shown, with its reason."""
    return f"{state} ({reason})" if reason else state


def last_line(text: str) -> str:
    """Return the last line of *text* that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "(it printed nothing)"


def spread(seconds: Sequence[float]) -> str:
    """Return median, 99th percentile and maximum in milliseconds."""
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"p50 {statistics.median(ordered) * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, max {ordered[-1] * 1000:.0f} ms"


def read_json(output: str) -> Any:
    """Return the JSON that a command printed, also when warnings stand before it."""
    return json.loads(output[min(at for at in (output.find("["), output.find("{")) if at >= 0) :])


__all__ = ["PREFIX", "ROOT", "Scene", "last_line", "read_json", "spread", "words"]
