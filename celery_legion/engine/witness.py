"""What a scheduler has seen of its store: enough to notice that the store has lost what it knew."""

from __future__ import annotations

from datetime import datetime, timedelta

from celery_legion.clock import MILLISECOND
from celery_legion.stores.base import Pulse

STEP = 1.0
"""Seconds of listening between two answers that count at most: while the store was silent nobody could tell it."""


class Witness:
    """Compares each pulse's answer with those before it: a store only ever moves forward, unless it has lost something.

    ``lost`` says that it has, until the loss is seen to, by this scheduler or by the one that leads. Its next leader
    first listens for *listening* seconds, since whoever led before it may live and know more.

    ``led`` says that this scheduler led when it was lost, until the loss is seen to. ``sure`` says that nobody else can
    have led since, either.

    ``done`` is the last moment, by the passes' clock, up to which another leader is known to have claimed all that was
    due; None if none has been one since this one led. ``serial`` is the number of the next pulse.
    """

    def __init__(self, lease: timedelta, listening: float) -> None:
        self.lost = self.led = self.sure = False
        self.done: datetime | None = None
        self.serial = 1
        # As whole as the store keeps it.
        self._lease = lease // MILLISECOND * MILLISECOND
        self._listening = listening
        self._left = 0.0
        self._at: datetime | None = None
        self._heard = 0.0
        self._lead: tuple[int, str] = (0, "")
        self._lead_done: datetime | None = None
        self._leads = False
        self._own: datetime | None = None

    @property
    def knows(self) -> bool:
        """Whether nobody is known to have claimed anything since this scheduler did."""
        return self._own is not None and (self.done is None or self.done <= self._own)

    def see(self, pulse: Pulse, now: datetime, monotonic: float) -> None:
        """Take in the next answer."""
        before, lead = self._lead, (pulse.lead.epoch, pulse.lead.owner)
        done, standby = pulse.lead.done, pulse.epoch is None
        passed, last = monotonic - self._heard, self._at
        behind = last is not None and self._is_behind(pulse, lead, last)
        # Another needs a lease that is over to lead, or a store that has lost it; and then it listens.
        leased = last is not None and pulse.at < last + self._lease and passed < self._lease.total_seconds()
        if behind:
            self.lost, self._left = True, self._listening
        elif self.lost:
            self._left -= min(passed, STEP)
            # Whoever leads has seen to it once all that was due is claimed.
            self.lost = not standby or done is None or (lead, done) == (before, self._lead_done)
        led = behind and self._leads
        self.led = leased and self.lost and (self.led or led)
        self.sure = self.led and passed < self._listening and not standby and (self.sure or led)
        # Later than now is by a clock that was set back since.
        self._own = None if self._own is None else min(self._own, now)
        if standby and done is not None:
            self.done = done if self.done is None or self.done > now else max(self.done, done)
        self.serial += 1
        self._at, self._heard, self._lead, self._lead_done = pulse.at, monotonic, lead, done
        # After another lead, or a loss that it listens for, it first has to learn where jobs stand.
        self._leads = self._leads and not standby and (self.sure or (lead == before and not self.lost))

    def listening(self) -> float:
        """Return for how many seconds a leader claims nothing yet: who led before the loss tells where jobs stood."""
        return 0.0 if self.sure or not self.lost else self._left

    def told(self) -> None:
        """Note that this scheduler has told the store, or whoever leads, what it knows."""
        self.lost = self.led = self.sure = False

    def lead(self, now: datetime) -> None:
        """Note that this scheduler leads and knows where all jobs stand."""
        self.told()
        self.done, self._own, self._leads = None, now, True

    def claimed(self, now: datetime) -> None:
        """Note that this scheduler has claimed all that was due at *now*."""
        self._own = now

    def _is_behind(self, pulse: Pulse, lead: tuple[int, str], last: datetime) -> bool:
        epoch, owner = self._lead
        if lead[0] < epoch or (lead[0] == epoch and lead[1] != owner):
            return True
        if pulse.last is not None:
            # One that had no answer may have come there all the same.
            return pulse.last < self.serial - 1
        if pulse.at < last:
            # Its clock was set back; leases say nothing then.
            return False
        # Its lease was over, which others may have noticed; a lead that was over as well comes with another epoch.
        return pulse.at < last + self._lease or (pulse.epoch is not None and lead == self._lead)
