"""The shop's fluent jobs."""

from __future__ import annotations

import logging

from shop import legion

logger = logging.getLogger(__name__)


def prune_sessions() -> None:
    """Drop what nobody will come back to."""
    logger.info("pruning sessions")


legion.call(prune_sessions).every("3s").description("Forget old sessions").tags("housekeeping")
legion.task("shop.tasks.count_stock", args=["shop window"]).name("count-window").daily_at("02:00").timezone(
    "Europe/Berlin"
)
