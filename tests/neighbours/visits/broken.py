"""A sound job beside each kind of broken one, for a minute: it fires on time, and what is broken is told as it is."""

from __future__ import annotations

import os
import time
from collections import Counter

from tests.neighbours.scene import Scene, spread, words
from tests.servers.patience import patient
from tests.servers.polling import eventually

SECONDS = 60
ON_TIME = 1.5
"""How late the sound job may begin at most, while ten schedulers and ten workers share two cores."""

UNSENDABLE = {"failed (unsendable)"}
KINDS: dict[str, set[str]] = {
    "router-key-error": UNSENDABLE,
    "lazy-argument-raises": UNSENDABLE,
    "once-server-away": UNSENDABLE,
    # Its own code takes seconds before it raises: the job is due again meanwhile, and the beat ends amid the last one.
    "once-server-away-retrying": {*UNSENDABLE, "skipped", "claimed"},
    "wrapper-redis-connection-error": UNSENDABLE,
    "wrapper-operational-error": UNSENDABLE,
    "wrapper-os-error": UNSENDABLE,
    "wrapper-sends-nothing": {"skipped"},
    "receiver-raises": {"succeeded"},
    "unknown-serializer": UNSENDABLE,
    "unroutable": UNSENDABLE,
    "singleton": {"succeeded", "skipped"},
}
"""Kind → what its fires may be recorded as."""


def broken(scene: Scene) -> None:
    """Run one app for each kind, all at a time; both jobs are due together at every second fire, else alone."""
    kinds = os.environ.get("NEIGHBOUR_KINDS", "").split() or list(KINDS)
    crews = [_Crew(scene, kind) for kind in kinds]
    for crew in crews:
        crew.start()
    for crew in crews:
        crew.wait()
    began = time.time()
    time.sleep(SECONDS)
    ended = time.time()
    for crew in crews:
        crew.judge(began, ended)


class _Crew:
    """A scheduler and a worker of one kind, with a ledger, a prefix and a queue of their own."""

    def __init__(self, scene: Scene, kind: str) -> None:
        self.scene = scene
        self.kind = kind
        self.view = scene.aside(kind)

    def start(self) -> None:
        env = {"NEIGHBOUR_KIND": self.kind}
        self.worker = self.view.spawn("worker", "-P", "threads", "-c", "4", "-n", f"{self.kind}@%h", *QUIET, env=env)
        self.beat = self.view.spawn("beat", "-S", "celery_legion.Scheduler", "--pidfile=", env=env)

    def wait(self) -> None:
        self.worker.wait_for(r"ready\.", 60)
        self.view.until("good", 1, 30)

    def judge(self, began: float, ended: float) -> None:
        self.beat.terminate()
        try:
            eventually(lambda: all(one.state.terminal for one in self.view.store.runs(None, 1000)), 8)
        except AssertionError:
            pass  # What is open is seen below.
        late = self.view.lateness("good", began, ended)
        expect = self.scene.expect
        good, bad = self._states("good", began, ended), self._states("bad", began, ended)
        fires = sum(good.values())
        self.scene.note(f"\n        {self.kind:32} good {_told(good)}; late {spread(late)}; bad {_told(bad)}")
        expect(abs(fires - SECONDS / 2) <= 1, f"{self.kind}: good has {fires} fires in {SECONDS} s")
        expect(set(good) == {"succeeded"}, f"{self.kind}: good is recorded as {_told(good)}")
        bound = patient(ON_TIME)
        expect(late and late[-1] <= bound, f"{self.kind}: good began {late[-1] if late else SECONDS:.2f} s late")
        times = Counter(line.get("id") for line in self.view.starts("good"))
        expect(set(times.values()) == {1}, f"{self.kind}: good was executed twice for one fire")
        known = KINDS[self.kind]
        plain = {state.partition(" ")[0] if state.startswith("skipped") else state for state in bad}
        expect(plain and plain <= known, f"{self.kind}: bad is recorded as {_told(bad)}, not {sorted(known)}")

    def _states(self, job: str, began: float, ended: float) -> Counter[str]:
        """Count what fires between two moments are recorded as."""
        records = self.view.records(job)
        fell = [one for one in records if began <= one.fire_time.timestamp() <= ended]
        return Counter(words(one.state.value, one.reason) for one in fell for _ in range(one.count))


def _told(states: Counter[str]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "no record"


QUIET = ("-l", "INFO", "--without-gossip", "--without-mingle")
