"""Importing the package costs next to nothing, whatever of it is used later."""

from __future__ import annotations

import subprocess
import sys

import celery_legion

HEAVY = ("redis", "sqlalchemy", "flower", "pytest", "rich", "cron_descriptor", "humanize")
CODE = "import sys, celery_legion as c; {use}; print(*[name for name in {heavy} if name in sys.modules])"


def loaded(use: str) -> str:
    argv = [sys.executable, "-c", CODE.format(use=use, heavy=HEAVY)]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded("assert 'celery' not in sys.modules") == ""


def test_what_a_web_process_uses_loads_nothing_heavy() -> None:
    assert loaded("from celery import Celery; c.Legion(Celery('x')); c.scheduled.hourly()(print)") == ""


def test_every_public_name_is_there_and_they_are_few() -> None:
    assert len(celery_legion.__all__) <= 20
    assert all(getattr(celery_legion, name) is not None for name in celery_legion.__all__)
    assert set(celery_legion.__all__) <= set(dir(celery_legion))
