"""Asking: what schedules have said that decide when they are asked, and when they are asked again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from celery_legion.clock import MILLISECOND, from_ms, to_ms
from celery_legion.control import error_in_line, in_line
from celery_legion.stores.base import Sight
from celery_legion.triggers.asked import Asked

logger = logging.getLogger(__name__)

AFTER_FAILURE = timedelta(seconds=60)
"""When a schedule is asked again that could not say."""

SLOW = 1.0
"""Seconds after which an answer is slow: nothing else is scheduled meanwhile."""


@dataclass(slots=True)
class Said:
    """What a schedule has said at its job's *mark*: *again* is when to ask next. A due answer is *owed* a claim."""

    trigger: Asked
    mark: datetime
    again: datetime
    owed: bool = False
    problem: str = ""
    slow: bool = False


class Asking:
    """Asks each schedule once at a time, and remembers what it has said.

    A schedule may change by being asked, so an answer is never asked for twice: it is kept until its claim is
    answered, also through a loss of the lead. For schedulers to come, :meth:`note` says when to ask again.
    """

    def __init__(self) -> None:
        self._said: dict[str, Said] = {}

    def start(self, name: str, trigger: Asked, sight: Sight) -> datetime:
        """Return when to ask the schedule of the job called *name*, as the store has seen it."""
        first, said = sight.mark + MILLISECOND, self._said.get(name)
        if said is not None and said.trigger == trigger and said.mark == sight.mark:
            return first if said.owed else max(first, said.again)
        again = _read(sight.note, trigger) or first
        self._said[name] = Said(trigger, sight.mark, max(first, again))
        return self._said[name].again

    def is_due(self, name: str, moment: Callable[[], datetime]) -> datetime | None:
        """Ask, at the present *moment*; return the fire, None if there is none."""
        said, now = self._said[name], moment()
        if said.owed:
            return _whole_ms(now)
        if said.again > now:
            return None
        try:
            answer = said.trigger.ask(said.mark)
        except Exception as exc:
            said.again = now + AFTER_FAILURE
            self._complain(name, said, exc)
            return None
        said.problem = ""
        self._time(name, said, (moment() - now).total_seconds())
        fire = _whole_ms(moment())
        said.again = fire + answer.wait
        # Two fires of one job differ in their milliseconds.
        said.owed = answer.due and fire > said.mark
        return fire if said.owed else None

    def again(self, name: str) -> datetime:
        """Return when to ask next."""
        return self._said[name].again

    def note(self, name: str) -> str:
        """Return what schedulers to come should know of the fire that is claimed."""
        said = self._said[name]
        return f"{to_ms(said.again)} {said.trigger.state_print}"

    def settle(self, name: str, mark: datetime) -> datetime:
        """Take in that the job's mark has moved to *mark*; returns when to ask next."""
        said = self._said[name]
        if mark != said.mark:
            said.mark, said.owed = mark, False
        return mark + MILLISECOND if said.owed else max(mark + MILLISECOND, said.again)

    def _complain(self, name: str, said: Said, exc: Exception) -> None:
        problem = error_in_line(exc)
        if problem != said.problem:
            said.problem = problem
            text = "the schedule of job %s cannot say whether it is due (%s); it is asked again each %.0f s"
            logger.error(text, in_line(name), problem, AFTER_FAILURE.total_seconds())
            logger.debug("where it went wrong", exc_info=exc)

    def _time(self, name: str, said: Said, took: float) -> None:
        if took > SLOW and not said.slow:
            said.slow = True
            text = "the schedule of job %s took %.1f s to say whether it is due; no job is sent meanwhile"
            logger.warning(text, in_line(name), took)


def _read(note: str, trigger: Asked) -> datetime | None:
    """Return when to ask again by a note; None if it is none, or was made of a schedule that is written otherwise."""
    again, _, print_ = note.partition(" ")
    if print_ != trigger.state_print or not again.isascii() or not again.isdigit() or len(again) > 14:
        return None
    return from_ms(int(again))


def _whole_ms(moment: datetime) -> datetime:
    return from_ms(to_ms(moment))
