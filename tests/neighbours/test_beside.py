"""Beside the three that most apps have; ``make neighbours`` visits all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.neighbours.environments import ready
from tests.neighbours.street import named, visit

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("name", ["django-celery-beat", "sentry-sdk", "opentelemetry"])
def test_nothing_is_wrong_beside(name: str, tmp_path: Path) -> None:
    neighbour = named(name)
    ready(neighbour.environment)

    assert visit(neighbour, tmp_path, brief=True).wrong == []
