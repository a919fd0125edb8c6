"""Faults of networks: each process' way to the broker and to the store is cut, slowed and turned one-way."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tests.faults.scenario import Scenario, Trial
from tests.faults.site import Member, Setup
from tests.servers.mode import Mode
from tests.servers.proxy import Proxy

CUTS = (Mode.BLACKHOLE, Mode.DROP, Mode.ONE_WAY_TO_SERVER, Mode.ONE_WAY_TO_CLIENT, Mode.REFUSE)
LATENCY, RATE = 0.3, 1000.0

CURED_AFTER = 9.0
"""Seconds beyond a run's lease until a message that was lost has been sent again.

A worker looks whether it is idle three times a lease, and a leader for lost messages every five seconds.
"""


def to_boundary(seconds: float = 1.0, before: float = 0.03) -> None:
    """Wait until a moment before the next boundary of *seconds*, when fires fall due."""
    time.sleep((-time.time() - before) % seconds)


def proxies(members: Sequence[Member], way: str) -> list[Proxy]:
    """Return the doors of *members* to their broker, store or both."""
    doors = {"broker": lambda one: [one.doors.broker], "store": lambda one: [one.doors.store]}
    return [proxy for one in members for proxy in doors.get(way, lambda one: list(one.doors.both))(one)]


def cut(trial: Trial, members: Sequence[Member], way: str, mode: Mode, seconds: float) -> None:
    """Cut *members* off from a boundary on."""
    to_boundary()
    who = sorted({one.role for one in members})
    line = trial.site.fault(mode.value, way=way, who=who, pids=[one.pid for one in members])
    for proxy in proxies(members, way):
        proxy.mode = mode
    time.sleep(seconds)
    for proxy in proxies(members, way):
        proxy.heal()
    trial.site.healed(line)
    trial.count("cuts")


def slow(trial: Trial, members: Sequence[Member], way: str, seconds: float, delay: float, rate: float | None) -> None:
    """Let bytes of *members* take *delay* seconds, or pass at *rate* bytes a second."""
    line = trial.site.fault("latency" if delay else "rate", way=way, pids=[one.pid for one in members])
    for proxy in proxies(members, way):
        proxy.delay, proxy.rate = delay, rate
    time.sleep(seconds)
    for proxy in proxies(members, way):
        proxy.delay, proxy.rate = 0.0, None
    trial.site.healed(line)
    trial.count("slowings")


def leader_cut_off(trial: Trial) -> None:
    """F13: the leader alone is cut off, for longer than its lease: the others take over, and it stands by."""
    for _ in range(trial.times(1, 6)):
        for mode in CUTS:
            for way in ("store", "broker", "both"):
                leader = trial.site.leader()
                cut(trial, [leader], way, mode, trial.site.setup.lease + trial.choose.uniform(0.2, 1.5))
                trial.sleep(1.5)
        for delay, rate in ((LATENCY, None), (0.0, RATE)):
            slow(trial, [trial.site.leader()], "both", 4, delay, rate)
            trial.sleep(2)


def worker_cut_off(trial: Trial) -> None:
    """F13: a worker alone is cut off, for less than its runs' lease: they go on."""
    for _ in range(trial.times(1, 6)):
        for mode in CUTS:
            for way in ("store", "broker"):
                worker = trial.choose.choice(trial.site.workers)
                cut(trial, [worker], way, mode, trial.choose.uniform(0.5, trial.site.setup.run_lease / 2))
                trial.sleep(2.5)


def all_cut_off(trial: Trial) -> None:
    """F13: nobody reaches the broker, the store, or either."""
    for _ in range(trial.times(1, 6)):
        for mode in CUTS:
            for way in ("store", "broker", "both"):
                cut(trial, trial.site.members, way, mode, trial.choose.uniform(0.5, 3))
                trial.sleep(2.5)
        slow(trial, trial.site.members, "both", 4, LATENCY, None)
        trial.sleep(2)


def rabbitmq_half_open(trial: Trial) -> None:
    """F13: RabbitMQ goes half-open under the leader at the boundary at which fires are sent."""
    for _ in range(trial.times(12, 100)):
        leader = trial.site.leader()
        to_boundary(1.0, trial.choose.uniform(-0.01, 0.05))
        line = trial.site.fault("half-open", way="broker", pids=[leader.pid])
        leader.doors.broker.blackhole()
        trial.sleep(trial.choose.uniform(0.3, 3))
        leader.doors.broker.heal()
        trial.site.healed(line)
        trial.count("cuts")
        trial.sleep(2)


def quick(trial: Trial) -> None:
    """The leader's ways to store and broker, half-open and one-way."""
    for way in ("store", "broker"):
        for mode in (Mode.BLACKHOLE, Mode.ONE_WAY_TO_SERVER):
            cut(trial, [trial.site.leader()], way, mode, trial.site.setup.lease + 0.7)
            trial.sleep(1)


SCENARIOS = (
    Scenario(
        name="quick-cuts",
        faults="F13",
        told="the leader's ways, half-open and one-way",
        setup=Setup(workload="calm"),
        act=quick,
        noisy=True,
        recovery=7.0,
        seconds=40,
        named=True,
    ),
    Scenario(
        name="cut-leader",
        faults="F13",
        told="the leader is cut off from store, broker, both",
        setup=Setup(workload="calm"),
        act=leader_cut_off,
        noisy=True,
        recovery=7.0,
        seconds=120,
    ),
    Scenario(
        name="cut-worker",
        faults="F13",
        told="a worker is cut off from store or broker",
        setup=Setup(workload="calm", run_lease=6.0),
        act=worker_cut_off,
        hurt=True,
        noisy=True,
        recovery=CURED_AFTER + 6.0,
        seconds=90,
    ),
    Scenario(
        name="cut-all",
        faults="F13",
        told="everybody is cut off from store, broker, both",
        setup=Setup(workload="calm", run_lease=8.0),
        act=all_cut_off,
        hurt=True,
        noisy=True,
        recovery=CURED_AFTER + 8.0,
        seconds=120,
    ),
    Scenario(
        name="rabbitmq-half-open",
        faults="F13",
        told="RabbitMQ goes half-open under the leader at boundaries",
        setup=Setup(workload="calm", rabbitmq=True),
        act=rabbitmq_half_open,
        noisy=True,
        recovery=7.0,
        seconds=80,
    ),
)
