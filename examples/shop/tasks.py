"""The shop's Celery tasks, and the functions that became some."""

from __future__ import annotations

import logging
import time

from celery import shared_task

from celery_legion import scheduled

logger = logging.getLogger(__name__)


@shared_task
def count_stock(place: str) -> None:
    """Count what lies in *place*: on the schedule by ``beat_schedule``, as it always was."""
    logger.info("counting the stock of the %s", place)


@scheduled.every("3s", tags=["cache"])
def warm_cache() -> None:
    """Every three seconds: a plain function, which the decorator makes a Celery task and a job."""
    logger.info("warming the cache")


@scheduled.every("2s", name="slow-import", tags=["import"])
@shared_task
def slow_import() -> None:
    """Takes five seconds and is due every two: it would overlap itself, and is skipped instead."""
    time.sleep(5)


@scheduled.daily_at("06:00", timezone="Europe/Berlin", name="restock")
def restock(amount: int = 10) -> None:
    """Once a day, or whenever someone asks: ``celery -A shop legion push restock --arg 40``."""
    logger.info("ordering %s crates", amount)
