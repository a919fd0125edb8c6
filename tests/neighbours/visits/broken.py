"""A sound job beside each kind of broken one, for a minute: it fires on time, and what is broken is told as it is."""

from __future__ import annotations

import os
import time
from collections import Counter

from tests.neighbours.scene import Scene, spread, words

SECONDS = 60
ON_TIME = 1.5
"""How late the sound job may begin at most, while ten schedulers and ten workers share two cores."""

UNSENDABLE = {"failed (unsendable)"}
KINDS: dict[str, set[str] | None] = {
    "router-key-error": UNSENDABLE,
    "lazy-argument-raises": UNSENDABLE,
    "once-server-away": UNSENDABLE,
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

UNSEEN = {"unroutable"}
"""What a Redis does not tell: it has no exchange that could say so."""


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
        self.worker = self.view.spawn("worker", "-P", "solo", "-n", f"{self.kind}@%h", *QUIET, env=env)
        self.beat = self.view.spawn("beat", "-S", "celery_legion.Scheduler", "--pidfile=", env=env)

    def wait(self) -> None:
        self.worker.wait_for(r"ready\.", 60)
        self.view.until("good", 1, 30)

    def judge(self, began: float, ended: float) -> None:
        self.beat.terminate()
        late = self.view.lateness("good")
        expect = self.scene.expect
        in_time = [one for one in self.view.records("good") if began <= one.fire_time.timestamp() <= ended]
        ok = sum(one.state.value == "succeeded" for one in in_time)
        bad = Counter(words(one.state.value, one.reason) for one in self.view.records("bad") for _ in range(one.count))
        self.scene.note(f"\n        {self.kind:32} good {ok}/{len(in_time)}, late {spread(late)}; bad: {_told(bad)}")
        fires = SECONDS / 2
        expect(abs(len(in_time) - fires) <= 1, f"{self.kind}: good has {len(in_time)} fires in {SECONDS} s")
        expect(ok == len(in_time), f"{self.kind}: {len(in_time) - ok} fires of good did not succeed")
        expect(late and late[-1] <= ON_TIME, f"{self.kind}: good began {late[-1] if late else SECONDS:.2f} s late")
        times = Counter(line.get("id") for line in self.view.starts("good"))
        expect(set(times.values()) == {1}, f"{self.kind}: good was executed twice for one fire")
        known = KINDS[self.kind]
        if known is None or (self.kind in UNSEEN and self.scene.rabbitmq is None):
            return
        plain = {state.partition(" ")[0] if state.startswith("skipped") else state for state in bad}
        expect(plain and plain <= known, f"{self.kind}: bad is recorded as {_told(bad)}, not {sorted(known)}")


def _told(states: Counter[str]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "no record"


QUIET = ("-l", "INFO", "--without-gossip", "--without-mingle")
