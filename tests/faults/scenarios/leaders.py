"""Faults of leaders: killed, paused and ended at random moments and at every stage of a pass."""

from __future__ import annotations

import signal
import time
from itertools import cycle, islice

from tests.faults.aimed import Stage
from tests.faults.scenario import Scenario, Trial
from tests.faults.site import Member, Setup
from tests.servers.polling import eventually

KILLED_AT = (Stage.CLAIMED, Stage.PUBLISHING, Stage.FLUSHING, Stage.PUBLISHED, Stage.CONFIRMED)
PAUSED_AT = tuple(stage for stage in Stage if stage is not Stage.RESENT)
HIT_WITHIN = 10.0


def hit(trial: Trial, stage: Stage, number: int, code: int | None = None) -> tuple[int, int, float]:
    """Aim at the leader; return its process id and epoch, and when it was hit."""
    site = trial.site
    site.stand_by(2)
    asked = time.monotonic()
    line = site.fault(stage.name.lower(), signal=signal.Signals(number).name)
    if code is not None:
        for beat in site.beats:
            beat.expected.add(code)
    site.aims.put(stage.name, number)
    note = site.wait_for_note("hit", after=asked, deadline=HIT_WITHIN, stage=stage.name)
    line |= {"wall": note["wall"], "pid": note["pid"], "epoch": note["epoch"]}
    return note["pid"], note["epoch"], note["mono"]


def successor(trial: Trial, epoch: int, when: float) -> float:
    """Return the seconds from *when* until the first message under a later epoch."""
    site = trial.site
    note = site.wait_for_note("published", after=when, epoch=epoch, deadline=site.setup.lease + 15)
    return float(note["mono"] - when)


def kill(trial: Trial, stage: Stage) -> None:
    """Kill the leader at *stage* and wait for its successor's first message."""
    _, epoch, when = hit(trial, stage, signal.SIGKILL, -signal.SIGKILL)
    trial.span("after_kill", successor(trial, epoch, when))
    trial.count("kills")


def kill_twice(trial: Trial) -> None:
    """Kill a leader, and the next one while it sends again what the first has left."""
    site = trial.site
    site.stand_by(3)
    # The next leader may be one that does not even run yet.
    site.allowed = {-signal.SIGKILL}
    site.aims.put(Stage.RESENT.name, signal.SIGKILL)
    _, _, when = hit(trial, Stage.CLAIMED, signal.SIGKILL, -signal.SIGKILL)
    note = site.wait_for_note("hit", after=when, deadline=site.setup.lease + HIT_WITHIN, stage=Stage.RESENT.name)
    site.fault("resent", signal="SIGKILL", pid=note["pid"], epoch=note["epoch"])["wall"] = note["wall"]
    trial.span("after_kill", note["mono"] - when)
    trial.span("after_kill", successor(trial, note["epoch"], note["mono"]))
    site.stand_by(3)
    site.allowed = set()
    trial.count("kills", 2)


def aimed_kills(trial: Trial) -> None:
    """F2: at every stage in turn, in an order that the seed decides, and sometimes twice in a row."""
    stages = list(islice(cycle(KILLED_AT), trial.times(48, 400)))
    trial.choose.shuffle(stages)
    for number, stage in enumerate(stages):
        kill(trial, stage)
        if number % 12 == 11:
            kill_twice(trial)


def random_kills(trial: Trial) -> None:
    """F1: whenever it happens to be."""
    for _ in range(trial.times(15, 120)):
        end(trial, signal.SIGKILL, -signal.SIGKILL, "kill")


def strike(trial: Trial, beat: Member, number: int, code: int | None, name: str) -> float:
    trial.site.fault(name, pid=beat.pid, role=beat.role)
    return trial.site.strike(beat, number, code)


def aimed_pauses(trial: Trial) -> None:
    """F3: stopped for longer than its lease at every stage; then it must stand by, and have nothing more to send."""
    stages = list(islice(cycle(PAUSED_AT), trial.times(26, 150)))
    trial.choose.shuffle(stages)
    for stage in stages:
        pause(trial, stage)


def pause(trial: Trial, stage: Stage) -> None:
    """Pause the leader at *stage* until another has led, and see that it stands by when it goes on."""
    site = trial.site
    pid, epoch, when = hit(trial, stage, signal.SIGSTOP)
    beat = site.beat_of(pid)
    try:
        trial.span("after_pause", successor(trial, epoch, when))
        trial.sleep(max(0.0, when + site.setup.lease + 0.7 - time.monotonic()))
    finally:
        beat.process.cont()
        site.healed(site.timeline[-1])
    site.wait_for_note("resumed", after=when, deadline=5, stage=stage.name, pid=beat.pid)
    eventually(
        lambda: any(lead.info.pid == beat.pid and not lead.epoch for lead in site.leads()),
        10,
        f"the beat paused at {stage.name} stands by",
    )
    trial.count("pauses")


def random_pauses(trial: Trial) -> None:
    """F3: stopped whenever it happens to be, for between a part of its lease and three."""
    for _ in range(trial.times(6, 60)):
        lead = trial.site.stand_by(3)[0]
        trial.sleep(trial.choose.uniform(0, 1))
        beat = trial.site.beat_of(lead.info.pid)
        line = trial.site.fault("pause", pid=beat.pid)
        beat.process.stop()
        trial.sleep(trial.site.setup.lease * trial.choose.uniform(0.3, 3))
        beat.process.cont()
        trial.site.healed(line)
        trial.count("pauses")


def terms(trial: Trial) -> None:
    """F4: asked to end, whenever it happens to be."""
    for _ in range(trial.times(15, 120)):
        end(trial, signal.SIGTERM, 0, "term")


def take_over(trial: Trial) -> None:
    """F1, F4 with the default lease of ten seconds."""
    for _ in range(trial.times(5, 40)):
        end(trial, signal.SIGKILL, -signal.SIGKILL, "kill")
    for _ in range(trial.times(8, 40)):
        end(trial, signal.SIGTERM, 0, "term")


def end(trial: Trial, number: int, code: int, name: str) -> None:
    """End the leader at a random moment, and wait for its successor's first message."""
    lead = trial.site.stand_by(trial.site.setup.beats)[0]
    trial.sleep(trial.choose.uniform(0, 1))
    when = strike(trial, trial.site.beat_of(lead.info.pid), number, code, name)
    trial.span(f"after_{name}", successor(trial, lead.epoch, when))
    trial.count(f"{name}s")


def nothing(trial: Trial) -> None:
    """No fault at all."""
    trial.sleep(trial.times(15, 60))


def quick(trial: Trial) -> None:
    """A kill and a pause at every stage, and a leader asked to end."""
    for stage in KILLED_AT:
        kill(trial, stage)
    for stage in PAUSED_AT:
        pause(trial, stage)
    for _ in range(2):
        end(trial, signal.SIGTERM, 0, "term")


SCENARIOS = (
    Scenario(name="control-mixed", faults="control", told="no fault, 22 jobs a second", act=nothing, seconds=30),
    Scenario(
        name="control-long",
        faults="control",
        told="no fault, guarded runs of five leases",
        setup=Setup(workload="long", concurrency=4),
        act=nothing,
        seconds=50,
    ),
    Scenario(name="kill-random", faults="F1", told="kill -9 of the leader at random", act=random_kills, seconds=90),
    Scenario(name="kill-aimed-1", faults="F2", told="kill -9 at every stage of a pass", act=aimed_kills, seconds=260),
    Scenario(name="kill-aimed-2", faults="F2", told="the same with other choices", act=aimed_kills, seconds=260),
    Scenario(name="pause-aimed-1", faults="F3", told="SIGSTOP at every stage of a pass", act=aimed_pauses, seconds=160),
    Scenario(name="pause-aimed-2", faults="F3", told="the same with other choices", act=aimed_pauses, seconds=160),
    Scenario(name="pause-random", faults="F3", told="SIGSTOP of the leader at random", act=random_pauses, seconds=60),
    Scenario(name="term", faults="F4", told="SIGTERM of the leader at random", act=terms, seconds=60),
    Scenario(
        name="take-over",
        faults="F1 F4",
        told="kill -9 and SIGTERM with the default lease",
        setup=Setup(lease=10.0, run_lease=60.0),
        act=take_over,
        recovery=14.0,
        seconds=120,
    ),
    Scenario(name="quick", faults="F2 F3", told="a few kills and pauses", act=quick, seconds=40, named=True),
)
