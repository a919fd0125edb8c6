"""Boards of an app with jobs on a store in memory, and what is read off them."""

from __future__ import annotations

from datetime import datetime, timedelta

from celery_legion import Legion
from celery_legion.cli.listing import screen
from celery_legion.cli.row import Board, read_board
from celery_legion.cli.standing import Standing, explain, standing
from celery_legion.stores.base import Claim
from celery_legion.stores.memory import MemoryStore
from celery_legion.testing.conformance_case import (
    dispatch,
    minute,
)

NOW = minute(1) + timedelta(seconds=30)


class Clock:
    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()


def add(legion: Legion, *names: str, queue: str | None = None, description: str = "") -> None:
    for name in names:
        made = legion.task("t").cron("* * * * *").name(name).description(description)
        if queue is not None:
            made.queue(queue)


def board_of(legion: Legion) -> Board:
    jobs = sorted(legion.context.registry.jobs.values(), key=lambda job: job.name)
    return read_board(legion.context, jobs)


def dispatched(store: MemoryStore, claim: Claim) -> Claim:
    dispatch(store, claim)
    return claim


def standing_of(legion: Legion, name: str = "job") -> Standing:
    board = board_of(legion)
    return next(standing(row, board) for row in board.rows if row.job.name == name)


def why(legion: Legion, name: str = "job") -> str:
    board = board_of(legion)
    return "\n".join(next(explain(row, board) for row in board.rows if row.job.name == name))


def shown(legion: Legion, width: int = 160, verbose: bool = False) -> str:
    board = board_of(legion)
    return "\n".join(line.plain for line in screen(board, board.rows, width, verbose=verbose))
