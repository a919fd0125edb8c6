"""Apps of their own for each test, and decorated jobs that do not outlive it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, _state

from celery_legion import Legion, registry


@pytest.fixture(autouse=True)
def decorated() -> Iterator[list[Any]]:
    """The jobs that decorators made during the test."""
    before = list(registry._decorated)
    registry._decorated.clear()
    yield registry._decorated
    registry._decorated[:] = before


@pytest.fixture(autouse=True)
def current() -> Iterator[None]:
    """Each test begins without a current app: for whom a decorator was written depends on it."""
    before = getattr(_state._tls, "current_app", None)
    _state._tls.current_app = None
    yield
    _state._tls.current_app = before


@pytest.fixture
def app() -> Iterator[Celery]:
    made = Celery("shop", broker="redis://localhost:6379/0", set_as_current=True)
    yield made
    made.close()


@pytest.fixture
def legion(app: Celery) -> Legion:
    return Legion(app)
