"""The shop's Celery tasks, and the functions that became some."""

from __future__ import annotations

import logging
import time

from celery import shared_task

from celery_legion import current_run, scheduled

logger = logging.getLogger(__name__)


@shared_task
def count_stock(place: str) -> str:
    """Count what lies in *place*; scheduled by ``beat_schedule`` as it always was."""
    logger.info("counting the stock of the %s", place)
    return f"counted {place}"


@scheduled("* * * * * */2", tags=["cache"])
def warm_cache() -> None:
    """Every two seconds: a plain function that the decorator makes a task and a job."""
    run = current_run()
    logger.info("warming the cache for the fire at %s", run.fire_time if run else "now")


@scheduled.every("2s", name="slow_import", tags=["import"])
@shared_task
def slow_import() -> None:
    """Takes five seconds and is due every two: it would overlap itself, and is skipped instead."""
    time.sleep(5)
