"""Fixtures of the security tests: trials with real workers, and shops with real commands."""

from __future__ import annotations

from tests.acceptance.conftest import make_shop
from tests.worker.conftest import new_trial

__all__ = ["make_shop", "new_trial"]
