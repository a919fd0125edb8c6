"""The shop's fluent jobs."""

from __future__ import annotations

import logging
from typing import Any

from shop import legion

logger = logging.getLogger(__name__)


def report(run: Any) -> None:
    """Say how a run went: a hook."""
    logger.warning("%s ended as %s with code %s, having said: %s", run.job, run.state, run.exit_code, run.output)


def prune_sessions() -> None:
    """Drop what nobody will come back to."""
    logger.info("pruning sessions")


legion.call(prune_sessions).every("3s").description("Forget old sessions").tags("housekeeping")
legion.task("shop.tasks.count_stock", args=["shop window"]).name("count-window").daily_at("02:00").timezone(
    "Europe/Berlin"
)
legion.command("echo checking the till of $SHOP; sleep 1; test $(($(date +%s) / 4 % 2)) = 0").name("check-till").every(
    "4s"
).env(SHOP="the corner shop").timeout("10s").on_failure(report)
