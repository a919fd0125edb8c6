"""The store of ``dev``: never one that other schedulers may share, while its broker is its own."""

from __future__ import annotations

import click
import pytest
from celery import Celery

from celery_legion.cli.dev import refuse_other_store


def test_a_store_of_the_apps_own_is_refused_without_its_password() -> None:
    app = Celery("shop", set_as_current=False)
    app.conf.legion_store_url = "redis://:secret@production/0"
    with pytest.raises(click.UsageError) as raised:
        refuse_other_store(app)
    assert "redis://:***@production/0" in raised.value.message


def test_without_one_nothing_is_refused() -> None:
    refuse_other_store(Celery("shop", set_as_current=False))
