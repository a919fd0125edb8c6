"""A scheduler's clocks: reads them together, goes by what is judged, and says what is wrong with them."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from celery_legion.clock import Clock, isoformat
from celery_legion.engine.timekeeping import Judgement, Reading, Timekeeper

logger = logging.getLogger(__name__)

SAID_EVERY = 30.0

LOOKS_APART = 0.5
"""Seconds between two looks that count as two."""


class Clocks:
    """The time of each pass: the host's wall clock is read once in it, and afterwards only time that passes counts.

    That the clocks differ is said when *looks* in a row have found so: a machine that falls asleep, or is set, in the
    middle of one look seems to have two times.
    """

    def __init__(self, clock: Clock, looks: int = 1) -> None:
        self._looks = looks
        self._found = 0
        self._look_at = 0.0
        self._clock = clock
        self._keeper = Timekeeper()
        self._judged: Judgement | None = None
        self._apart = False
        self._say_at = 0.0

    def judge(self, store: datetime, asked: float) -> datetime:
        """Return the time to go by, given the *store*'s, for which it was *asked* at that monotonic second."""
        reading = Reading(host=self._clock.now(), store=store, asked=asked, answered=self._clock.monotonic())
        self._judged = judged = self._keeper.judge(reading)
        self._say(judged)
        return judged.now

    def until(self, moment: datetime) -> float:
        """Return the seconds from now to *moment* (past: negative), by what was judged last and the monotonic clock.

        A step of the wall clock since then is for the next pass to judge.
        """
        assert self._judged is not None
        passed = self._clock.monotonic() - self._judged.reading.answered
        return (moment - self._judged.now).total_seconds() - passed

    def _say(self, judged: Judgement) -> None:
        if judged.jump:
            way = "ahead" if judged.jump > timedelta(0) else "back"
            text = "the time went %s by %.1f s, to %s: this machine slept, or a clock was set; "
            text += "what has fired does not fire again, what was missed is caught up with by each job's policy"
            logger.warning(text, way, abs(judged.jump.total_seconds()), isoformat(judged.now))
        if not judged.ahead:
            if self._apart:
                logger.warning("the clocks of this host and of the store agree again")
            self._apart, self._found = False, 0
            return
        if judged.reading.answered >= self._look_at:
            self._found += 1
            self._look_at = judged.reading.answered + LOOKS_APART
        if self._found < self._looks:
            return
        if not self._apart or judged.reading.answered >= self._say_at:
            self._apart, self._say_at = True, judged.reading.answered + SAID_EVERY
            self._say_apart(judged)

    def _say_apart(self, judged: Judgement) -> None:
        if judged.by_host:
            followed, wrong = "the host's, since the store's has stepped", "the store's server"
        else:
            followed, wrong = "the store's", "whichever is wrong"
        text = "this host's clock (%s) is %.1f s %s the store's (%s): fires follow %s; set the clock of %s right (NTP)"
        way = "ahead of" if judged.ahead > timedelta(0) else "behind"
        host, store = isoformat(judged.reading.host), isoformat(judged.reading.store)
        logger.warning(text, host, abs(judged.ahead.total_seconds()), way, store, followed, wrong)
