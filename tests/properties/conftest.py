"""The engine's bench, for pushes."""

from __future__ import annotations

from tests.unit.engine.conftest import broker, clock, make, store

__all__ = ["broker", "clock", "make", "store"]
