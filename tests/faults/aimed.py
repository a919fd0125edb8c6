"""A scheduler that faults can be aimed at: it stops or kills itself at an exact stage of a pass, when asked to."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import redis

from celery_legion.beat import Scheduler
from celery_legion.engine import Engine
from celery_legion.engine.dispatch import Draft
from celery_legion.engine.sending import Sending
from celery_legion.stores.base import Claim, Granted, Verdict
from tests.faults.notebook import SCHEDULERS, Aims, Notebook


class Stage(StrEnum):
    """Where in a pass a fault hits, in the order of a pass."""

    DECIDED = "decided, before the claim"
    CLAIMED = "claimed, before publishing"
    PUBLISHING = "in the middle of a batch"
    FLUSHING = "half of the batch's bytes sent"
    PUBLISHED = "published, before the confirm"
    CONFIRMED = "confirmed"
    RESENT = "a dead one's runs sent again"


CROWD = 3
"""Fewest runs in flight for a fault to hit: it shall have something to lose."""


class Watch:
    """Stands between an engine and its store, writes down what passes, and strikes where that is wanted."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.notes = Notebook(folder / SCHEDULERS)
        self.aims = Aims(folder / "aims")
        self.store: Any = engine.context.store
        self.batch: Sequence[str | None] = ()
        self.sent_of_batch = 0
        self._sight, self._claim, self._sent = self.store.sight, self.store.claim, self.store.sent
        self.store.sight, self.store.claim, self.store.sent = self.sight, self.claim, self.sent

    def sight(self, prints: Any, mark: datetime) -> Any:
        self.notes.write("sight", mark=mark.timestamp(), jobs=len(prints))
        return self._sight(prints, mark)

    def claim(self, claims: Sequence[Claim], owner: str, epoch: int | None, lead_ttl: timedelta) -> list[Verdict]:
        if len(claims) >= CROWD:
            self.reach(Stage.DECIDED)
        verdicts: list[Verdict] = self._claim(claims, owner, epoch, lead_ttl)
        runs = [claim.run_id for claim, verdict in zip(claims, verdicts, strict=True) if verdict.granted is Granted.RUN]
        self.notes.write("claim", epoch=epoch, runs=runs, verdicts=Counter(verdict.granted for verdict in verdicts))
        self.batch, self.sent_of_batch = runs, 0
        if len(runs) >= CROWD:
            self.reach(Stage.CLAIMED)
        return verdicts

    def sending(self) -> None:
        """Count one message of a batch as handed to the producer."""
        self.sent_of_batch += 1
        if len(self.batch) >= CROWD and self.sent_of_batch == len(self.batch) // 2:
            self.reach(Stage.PUBLISHING)

    def sent(self, ids: Sequence[str], astray: Collection[str] = ()) -> None:
        self.notes.write("published", epoch=self.engine.epoch, runs=list(ids))
        if not set(ids) <= set(self.batch):
            self.reach(Stage.RESENT)
        elif len(ids) >= CROWD:
            self.reach(Stage.PUBLISHED)
        self._sent(ids, astray)
        if len(ids) >= CROWD:
            self.reach(Stage.CONFIRMED)

    def leads(self) -> bool:
        """Ask the store whether this scheduler leads now; a deposed one may not know it yet."""
        leaders = [one for one in self.store.schedulers() if one.epoch]
        return bool(leaders) and leaders[0].owner == self.engine.owner

    def reach(self, stage: Stage) -> None:
        """Strike if that is wanted at *stage*."""
        if self.aims.lies(stage.name) and self.leads():
            self.strike(stage)

    def strike(self, stage: Stage) -> None:
        signal = self.aims.take(stage.name)
        if signal is not None:
            self.notes.write("hit", stage=stage.name, signal=signal, epoch=self.engine.epoch)
            os.kill(os.getpid(), signal)
            self.notes.write("resumed", stage=stage.name, epoch=self.engine.epoch)


class AimedScheduler(Scheduler):
    """Legion's scheduler with a watch in it."""

    watch: Watch | None = None

    @property
    def engine(self) -> Engine:
        engine = super().engine
        if self.watch is None:
            self.watch = Watch(engine, Path(os.environ["FAULTS_FOLDER"]))
            _cut_flushes(self.watch)
            _count_messages(self.watch)
        return engine


def _count_messages(watch: Watch) -> None:
    """Let a fault hit between two messages of a batch."""
    plain = Sending.send

    def send(self: Sending, draft: Draft) -> None:
        plain(self, draft)
        watch.sending()

    Sending.send = send  # type: ignore[method-assign]


def _cut_flushes(watch: Watch) -> None:
    """Let a fault hit between two halves of a pipeline's bytes on their way to the broker."""
    plain: Callable[..., Any] = redis.Connection.send_packed_command

    def send_packed_command(self: Any, command: Any, check_health: bool = True) -> Any:
        if watch.aims.lies(Stage.FLUSHING.name) and self._sock is not None and not isinstance(command, (str, bytes)):
            command = list(command)
            data = b"".join(command)
            if data.count(b"LPUSH\r\n") >= CROWD and watch.leads():
                half = len(data) // 2
                self._sock.sendall(data[:half])
                watch.strike(Stage.FLUSHING)
                self._sock.sendall(data[half:])
                return None
        return plain(self, command, check_health)

    redis.Connection.send_packed_command = send_packed_command
