"""All neighbours: which environment each lives in, and what is done there."""

from __future__ import annotations

import os
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.neighbours import environments
from tests.neighbours.postgres import NoPostgresError
from tests.neighbours.scene import Scene
from tests.neighbours.visits import broken, django, locks, observers, oldest, other
from tests.servers.rabbitmq import NoRabbitError


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """One visit: ``seconds`` is about how long it takes where nothing else runs."""

    name: str
    environment: str
    app: str
    visit: Callable[[Scene], None]
    seconds: int = 20
    rabbitmq: bool = False
    django: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a visit came to; ``absent`` says which server there would have to be for it."""

    name: str
    wrong: list[str]
    notes: list[str]
    seconds: float
    absent: str = ""


NEIGHBOURS = (
    Neighbour(
        name="django-celery-beat",
        environment="django",
        app="django_beat",
        django="django_settings",
        visit=django.django_celery_beat,
    ),
    Neighbour(
        name="django-celery-results",
        environment="django",
        app="django_results",
        django="django_settings",
        visit=django.django_celery_results,
    ),
    Neighbour(
        name="django-structlog",
        environment="django",
        app="structlogged",
        django="django_settings",
        visit=django.django_structlog,
    ),
    Neighbour(name="redbeat", environment="locks", app="redbeat_beside", visit=locks.redbeat, seconds=75),
    Neighbour(name="celery-singleton", environment="locks", app="singleton", visit=locks.singleton),
    Neighbour(name="celery-once", environment="locks", app="once", visit=locks.once),
    Neighbour(name="celery-batches", environment="batches", app="batches", visit=locks.batches, seconds=35),
    Neighbour(
        name="tenant-schemas-celery",
        environment="tenants",
        app="tenants",
        django="tenants_settings",
        visit=other.tenants,
        seconds=60,
    ),
    Neighbour(name="celery-aio-pool", environment="aio", app="aio", visit=other.aio_pool),
    Neighbour(name="sentry-sdk", environment="traces", app="sentry", visit=observers.sentry),
    Neighbour(name="opentelemetry", environment="traces", app="traced", visit=observers.opentelemetry),
    Neighbour(name="flower", environment="traces", app="plain", visit=observers.flower),
    Neighbour(name="ddtrace", environment="ddtrace", app="plain", visit=observers.ddtrace),
    Neighbour(name="oldest-versions", environment="oldest", app="plain", visit=oldest.oldest, seconds=60),
    Neighbour(name="broken-redis", environment="locks", app="broken", visit=broken.broken, seconds=110),
    Neighbour(
        name="broken-rabbitmq", environment="locks", app="broken", visit=broken.broken, seconds=120, rabbitmq=True
    ),
)


def named(name: str) -> Neighbour:
    """Return the neighbour of that name."""
    return next(one for one in NEIGHBOURS if one.name == name)


def visit(neighbour: Neighbour, keep: Path | None = None, *, brief: bool = False) -> Finding:
    """Make its environment if need be, visit it, and return what was found; an error is something found."""
    began = time.monotonic()
    wrong: list[str] = []
    notes: list[str] = []
    absent = ""
    try:
        python = environments.ready(neighbour.environment)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="legion-neighbour-") as temporary:
            folder = keep / neighbour.name if keep else Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            settings = f"tests.neighbours.apps.{neighbour.django}"
            env = {"DJANGO_SETTINGS_MODULE": settings} if neighbour.django else {}
            with Scene(python, folder, neighbour.app, rabbitmq=neighbour.rabbitmq, brief=brief, **env) as scene:
                wrong, notes = scene.wrong, scene.notes
                neighbour.visit(scene)
    except (NoPostgresError, NoRabbitError) as exc:
        # Where nobody looks, a visit that was left out would be taken for one that found nothing.
        if os.environ.get("CI") == "true":
            wrong.append(f"CI must have it: {exc}")
        else:
            absent = str(exc)
    except Exception as exc:
        place = traceback.extract_tb(exc.__traceback__)[-1]
        wrong.append(f"{type(exc).__name__} at {Path(place.filename).name}:{place.lineno}: {str(exc)[:1000]}")
    return Finding(name=neighbour.name, wrong=wrong, notes=notes, seconds=time.monotonic() - began, absent=absent)
