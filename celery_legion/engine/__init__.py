"""The engine: one scheduling pass, the only path that sends a run."""

from __future__ import annotations

from celery_legion.engine.dispatch import Dispatch
from celery_legion.engine.one_shot import OneShot, Ordered
from celery_legion.engine.passes import Engine

__all__ = ["Dispatch", "Engine", "OneShot", "Ordered"]
