"""What time it is when clocks differ: the host's, the store's, and the monotonic one that shows which has stepped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

APART = timedelta(seconds=1)
"""How far host and store may differ before it matters which of them is believed."""

STEP = timedelta(milliseconds=500)
"""How far a clock moves otherwise than the monotonic one at least when it has stepped, beyond what measuring costs."""

SLEW = 1 / 1000
"""Twice the rate at which NTP slews a clock at most."""

NOTHING = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One look at all clocks: the store was ``asked``, it gave its time, the ``host``'s was read, it was ``answered``.

    ``asked`` and ``answered`` are seconds of the monotonic clock. A process that is stopped anywhere in between only
    makes the reading less sharp.
    """

    host: datetime
    store: datetime
    asked: float
    answered: float

    @property
    def blur(self) -> timedelta:
        """How long the look took: by so much the store may have been asked before the host."""
        return timedelta(seconds=self.answered - self.asked)

    def difference(self, correction: timedelta = NOTHING) -> timedelta:
        """Return by how much the host is ahead of the corrected store (behind: negative), less what the look took."""
        ahead = self.host - self.store - correction
        return max(NOTHING, ahead - self.blur) if ahead > NOTHING else ahead


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The time to go by.

    ``ahead`` is by how much the host's clock is ahead of the store's, zero while they agree. ``by_host`` says whose
    time this is. ``jump`` is how far the time to go by has moved otherwise than real time since the last look, zero
    if it has not.
    """

    now: datetime
    reading: Reading
    ahead: timedelta = NOTHING
    by_host: bool = True
    jump: timedelta = NOTHING


class Timekeeper:
    """Judges what time it is, look by look. One that has looked never before knows no steps.

    - Host and store agree: the host's.
    - They differ: the store's, for it is the one that all schedulers share; a host that is set wrong, that steps
      or drifts harms nothing.
    - Except that the store's clock was seen to step while the host's went on as the monotonic one did: then what
      the store has stepped is taken out of its time, until both agree again.

    Both moving alike is a machine that slept, or one that was set right: they agree. A store that goes by another
    rate is followed like any other difference; so is one that had stepped before the first look.
    """

    def __init__(self) -> None:
        self._correction = NOTHING
        self._last: Judgement | None = None

    def judge(self, reading: Reading) -> Judgement:
        """Return the time to go by at this *reading*, which is later than the one before it."""
        self._correct(reading)
        ahead = reading.difference()
        if abs(ahead) <= APART:
            self._correction = ahead = NOTHING
        by_host = abs(reading.difference(self._correction)) <= APART
        now = reading.host if by_host else reading.store + self._correction
        if by_host and self._correction:
            # What the measuring of steps has cost does not add up, and the store is known to be wrong.
            self._correction = reading.host - reading.store
        judged = Judgement(now=now, reading=reading, ahead=ahead, by_host=by_host, jump=self._jump(now, reading))
        self._last = judged
        return judged

    def _correct(self, reading: Reading) -> None:
        if self._last is None:
            return
        last, bound = self._last.reading, STEP + self._slack(reading)
        passed = timedelta(seconds=reading.answered - last.answered)
        store, host = reading.store - last.store - passed, reading.host - last.host - passed
        if abs(store) > bound and abs(host) <= bound:
            self._correction -= store

    def _jump(self, now: datetime, reading: Reading) -> timedelta:
        if self._last is None:
            return NOTHING
        jump = now - self._last.now - timedelta(seconds=reading.answered - self._last.reading.answered)
        # From one of two clocks that agree to the other is no jump.
        return jump if abs(jump) > 2 * APART + self._slack(reading) else NOTHING

    def _slack(self, reading: Reading) -> timedelta:
        assert self._last is not None
        passed = reading.answered - self._last.reading.answered
        return self._last.reading.blur + reading.blur + timedelta(seconds=passed * SLEW)
