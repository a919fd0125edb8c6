"""Scenarios: a site, what is done to it, and the row that comes of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from celery_legion.embedded import NoServerError
from tests.faults import ending, verdict
from tests.faults.faketime import NoFakeTimeError
from tests.faults.site import Setup, Site
from tests.servers.rabbitmq import NoRabbitError

Act = Callable[["Trial"], Mapping[str, Any] | None]
Alone = Callable[[Random, bool, Path], Mapping[str, Any]]

CALM = 2.5
"""Seconds without a fault at the start and at the end of every scenario: they must be as well as a control run."""


@dataclass(slots=True)
class Trial:
    """One run of a scenario. ``full`` asks for its long form; *choose* is the seeded random."""

    site: Site
    choose: Random
    full: bool
    counts: dict[str, int] = field(default_factory=dict)
    spans: dict[str, list[float]] = field(default_factory=dict)

    def times(self, short: int, full: int) -> int:
        """Return how often something is to be done in this form."""
        return full if self.full else short

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    def span(self, what: str, seconds: float) -> None:
        self.spans.setdefault(what, []).append(seconds)

    def sleep(self, seconds: float) -> None:
        """Let the site go on for a while."""
        time.sleep(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """``faults`` names it after the list of faults; ``hurt`` and ``noisy`` say what its faults may leave in their wake.

    One that is ``named`` runs only when it is asked for by its name. One that is ``alone`` has no site of this kind
    and returns its own row, with ``breaches``.
    """

    name: str
    faults: str
    told: str
    setup: Setup = field(default_factory=Setup)
    act: Act | None = None
    alone: Alone | None = None
    hurt: bool = False
    noisy: bool = False
    seconds: int = 60
    named: bool = False
    recovery: float = 5.0


def run(scenario: Scenario, seed: int, full: bool, folder: Path) -> dict[str, Any]:
    """Run *scenario* and return its row."""
    began = time.monotonic()
    choose = Random(f"{seed}:{scenario.name}")
    head: dict[str, Any] = {"scenario": scenario.name, "faults": scenario.faults, "seed": seed, "full": full}
    try:
        body = (
            dict(scenario.alone(choose, full, folder)) if scenario.alone else _on_site(scenario, choose, full, folder)
        )
    except (NoRabbitError, NoServerError, NoFakeTimeError) as exc:
        if os.environ.get("CI") == "true":
            raise
        body = {"skipped": str(exc)}
    return head | body | {"took_s": round(time.monotonic() - began, 1)}


def _on_site(scenario: Scenario, choose: Random, full: bool, folder: Path) -> dict[str, Any]:
    assert scenario.act is not None
    with Site(scenario.setup, folder) as site:
        trial = Trial(site, choose, full)
        time.sleep(CALM)
        try:
            extra = dict(scenario.act(trial) or {})
        except AssertionError as exc:
            # What came of the faults until then is worth more than the fault that did not happen.
            site.strays.append(f"the faults ended early: {exc}")
            extra = {}
        # Long enough for what was broken to have recovered, and to be judged without an excuse.
        time.sleep(scenario.recovery + CALM)
        head = {
            "scheduler": scenario.setup.scheduler,
            "beats": scenario.setup.beats,
            "workers": scenario.setup.workers,
            **trial.counts,
            **({"worker_crashes": site.crashes} if site.crashes else {}),
            "takeover_s": {what: verdict.spread(spans) for what, spans in trial.spans.items()},
        }
        if not site.watched:
            return head | ending.of_peer(site) | extra | {"timeline": site.timeline}
        evidence = ending.gather(site, hurt=scenario.hurt, noisy=scenario.noisy, recovery=scenario.recovery)
    verdicts = verdict.judge(evidence)
    found = {name: len(witnesses) for name, witnesses in verdicts.items()}
    more = extra.pop("breaches", {})
    found |= {name: len(witnesses) for name, witnesses in more.items()}
    return (
        head
        | verdict.numbers(evidence)
        | extra
        | {
            "invariants": found,
            "breaches": sum(found.values()),
            "witnesses": verdict.shown(verdicts | more),
            "timeline": site.timeline,
        }
    )
