"""What a site consists of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.faults.workload import WORKLOADS, Workload

SCHEDULER_CLASSES = {
    "legion": "tests.faults.aimed:AimedScheduler",
    "redbeat": "redbeat.RedBeatScheduler",
    "beat": "celery.beat:PersistentScheduler",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a site consists of; times in seconds."""

    workload: str = "mixed"
    scheduler: str = "legion"
    beats: int = 3
    workers: int = 2
    concurrency: int = 2
    lease: float = 2.0
    run_lease: float = 3.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    worker_options: tuple[str, ...] = ()
    beat_env: Mapping[str, str] = field(default_factory=dict)
    rabbitmq: bool = False
    restart_after: float = 0.2

    @property
    def jobs(self) -> Workload:
        return WORKLOADS[self.workload]

    def app_settings(self) -> dict[str, Any]:
        """Return the app's settings for these times."""
        own: dict[str, Any] = {}
        if self.scheduler == "legion":
            quick = self.lease < 5
            own = {"legion_leader_lease": self.lease, "legion_run_lease": self.run_lease}
            own |= {"legion_store_timeout": 0.9, "legion_broker_timeout": 0.9} if quick else {}
        elif self.scheduler == "redbeat":
            own = {"redbeat_lock_timeout": self.lease, "beat_max_loop_interval": 0.5}
        return own | dict(self.settings)

    def told(self, workload: str = "") -> str:
        """Return what the app is told, for this workload or for another version of it."""
        known = {"workload": workload or self.workload, "scheduler": self.scheduler, "settings": self.app_settings()}
        return json.dumps(known)

    def command(self, role: str, number: int, *options: str) -> tuple[str, ...]:
        """Return Celery's arguments for the beat or the worker of this number."""
        if role == "beat":
            scheduler = SCHEDULER_CLASSES[self.scheduler]
            return ("beat", "-S", scheduler, "--loglevel", "INFO", "--pidfile=", *options)
        argv = ("worker", "--loglevel", "INFO", "--without-gossip", "--without-mingle", "--pool", "prefork")
        return (*argv, "-c", str(self.concurrency), "-n", f"w{number}@faults", *self.worker_options, *options)
