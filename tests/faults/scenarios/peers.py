"""The same site under RedBeat and under Celery's beat: what they lose and send twice, beside what legion does.

Aimed by what reaches the broker alone, so that no scheduler is looked into: the process whose first message of a batch
has just arrived is killed or paused.
"""

from __future__ import annotations

import signal
import time
from dataclasses import replace

from tests.faults.scenario import Scenario, Trial
from tests.faults.site import Member, Setup
from tests.servers.arrival import Arrival

PERIOD = 10.0
LEASE = 3.0


def strike_in_batch(trial: Trial, number: int) -> Member | None:
    """Send a signal to the beat of which the first message of the next batch has just reached the broker."""
    tap = trial.site.tap
    assert tap is not None
    boundary = (time.time() // PERIOD + 1) * PERIOD
    time.sleep(max(0.0, boundary - 0.2 - time.time()))
    beats = {beat.pid: beat for beat in trial.site.beats}
    start = len(tap.rows)
    while time.time() < boundary + PERIOD / 2:
        first = next((row for row in tap.rows[start:] if _is_of(row, boundary)), None)
        if first is not None and first.pid in beats:
            # Anywhere in the batch, and where exactly is left to chance.
            time.sleep(trial.choose.uniform(0, 0.06))
            beat = beats[first.pid]
            trial.site.fault(signal.Signals(number).name, pid=beat.pid, after_s=round(time.time() - boundary, 3))
            trial.site.strike(beat, number, -number if number == signal.SIGKILL else None)
            return beat
        start = len(tap.rows) if first is None else start
        time.sleep(0.0002)
    return None


def _is_of(row: Arrival, boundary: float) -> bool:
    return row.at.timestamp() >= boundary - 0.05 and not row.redelivered


def nothing(trial: Trial) -> None:
    """No fault: every fire of four periods."""
    time.sleep(trial.times(4, 12) * PERIOD)


def kills(trial: Trial) -> None:
    """F2: killed when the first message of a batch is out."""
    for _ in range(trial.times(9, 60)):
        if strike_in_batch(trial, signal.SIGKILL) is not None:
            trial.count("kills")
    time.sleep(PERIOD + 1)


def pauses(trial: Trial) -> None:
    """F3: paused when the first message of a batch is out, until another has led."""
    for _ in range(trial.times(9, 60)):
        beat = strike_in_batch(trial, signal.SIGSTOP)
        if beat is not None:
            time.sleep(2 * LEASE)
            beat.process.cont()
            trial.site.healed(trial.site.timeline[-1])
            trial.count("pauses")
    time.sleep(PERIOD + 1)


BASE = Setup(workload="tens", lease=LEASE, restart_after=2.0, workers=1)

SCENARIOS = tuple(
    Scenario(
        name=f"{scheduler}-{what}",
        faults=faults,
        told=f"{told}, sixty jobs every ten seconds, {scheduler}",
        setup=replace(BASE, scheduler=scheduler, beats=1 if scheduler == "beat" else 3),
        act=act,
        noisy=True,
        recovery=6.0,
        seconds=seconds,
    )
    for scheduler in ("legion", "redbeat", "beat")
    for what, faults, told, act, seconds in (
        ("nothing", "control", "no fault", nothing, 60),
        ("kill", "F2", "kill -9 in the middle of a batch", kills, 120),
        ("pause", "F3", "SIGSTOP in the middle of a batch", pauses, 120),
    )
    if not (scheduler == "beat" and what == "pause")
)
