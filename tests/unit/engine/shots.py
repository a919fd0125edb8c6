"""What one-shots are tried with: jobs of one task, and a look into the store."""

from __future__ import annotations

from celery_legion.builder import Builder
from celery_legion.engine import Engine, OneShot
from celery_legion.job import Job
from celery_legion.run import Record
from celery_legion.stores.memory import MemoryStore
from celery_legion.target import Target
from tests.unit.engine.bench import START

MINUTE_BEGAN = START.replace(second=0)


def a_task(task: str = "t") -> Builder:
    return Builder(Target(task, "here:1"))


def shot(engine: Engine) -> OneShot:
    return OneShot(engine.context, lambda dispatch, producer: None)


def schedule(engine: Engine, *builders: Builder) -> OneShot:
    for builder in builders:
        engine.context.registry.add(builder)
    return shot(engine)


def job(engine: Engine, name: str = "j") -> Job:
    return engine.context.registry.get(name)


def record(store: MemoryStore, name: str) -> Record:
    found = store.get(name)
    assert found is not None
    return found
