"""The shop's fluent jobs."""

from __future__ import annotations

import logging
import os
from typing import Any

from shop import legion

logger = logging.getLogger(__name__)


def page_the_owner(run: Any) -> None:
    """Say that a run went wrong: a hook. The pager is a file, if there is one."""
    message = f"{run.job} {run.state}: {run.error}"
    logger.warning("paging the owner: %s", message)
    if pager := os.environ.get("SHOP_PAGER"):
        with open(pager, "a") as file:
            print(message, file=file)


def prune_sessions() -> None:
    """Drop what nobody will come back to."""
    logger.info("pruning sessions")


def print_labels() -> None:
    """Fail, as printers do."""
    raise RuntimeError("the printer is out of paper")


legion.call(prune_sessions).name("prune-sessions").every("5s").description("Forget old sessions").tags("housekeeping")

legion.call(print_labels).name("print-labels").every("6s").on_failure(page_the_owner)

legion.command("echo opening the till of $SHOP; sleep 1; echo it holds $(($(date +%s) % 900)) coins").name(
    "check-till"
).every("4s").env(SHOP="the corner shop").timeout("10s")

legion.task("shop.tasks.count_stock", args=["shop window"]).name("count-window").daily_at("02:00").timezone(
    "Europe/Berlin"
)
