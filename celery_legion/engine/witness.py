"""What a scheduler has seen of its store: enough to notice that the store has lost what it knew."""

from __future__ import annotations

from datetime import datetime, timedelta

from celery_legion.clock import MILLISECOND
from celery_legion.stores.base import Pulse

ALIVE = timedelta(seconds=2)
"""How long ago a living leader has renewed its lead at most: it does so each second."""


class Witness:
    """Compares each pulse's answer with those before it: a store only ever moves forward, unless it has lost something.

    ``lost`` says that it has, until the loss is seen to: by this scheduler, or by another that leads on for longer
    than *settling*. ``led`` then says that this scheduler was the last leader that it knows of, and ``sure`` that
    nobody else can have led since. ``others_led_at`` is the last moment before the loss, by the passes' clock, at
    which another is known to have renewed its lead: fires up to there were its to claim. None if this one was the
    last to lead.
    """

    def __init__(self, lease: timedelta, settling: timedelta) -> None:
        self.lost = self.led = self.sure = False
        self.others_led_at: datetime | None = None
        # As whole as the store keeps it.
        self._lease = lease // MILLISECOND * MILLISECOND
        self._settling = settling.total_seconds()
        self._at: datetime | None = None
        self._lead = (0, "")
        self._leads = False
        self._changed_at = 0.0

    def see(self, pulse: Pulse, now: datetime, monotonic: float) -> bool:
        """Take in the next answer; returns whether it shows a loss that the one before it did not."""
        lead = (pulse.lead.epoch, pulse.lead.owner)
        last, standby = self._at, pulse.epoch is None
        behind = last is not None and self._is_behind(pulse, lead, last)
        if behind or lead != self._lead:
            self._changed_at = monotonic
        since_renewal = max(timedelta(0), self._lease - pulse.lead.expires_in)
        if behind:
            # After its lease another may have led.
            within = last is not None and pulse.at < last + self._lease
            self.lost, self.led, self.sure = True, self._leads or self.led, (self._leads and within) or self.sure
        elif self.lost and standby and not self.led and since_renewal < ALIVE:
            # The next leader first listens, and may itself not come to its end.
            self.lost = monotonic < self._changed_at + self._settling
        if standby and not self.lost:
            self._note(now, now - since_renewal)
        self._at, self._lead, self._leads = pulse.at, lead, self._leads and not standby
        return behind

    def told(self) -> None:
        """Note that this scheduler has told the store, or whoever leads, what it knows."""
        self.lost = self.led = self.sure = False

    def lead(self) -> None:
        """Note that this scheduler leads and knows where all jobs stand."""
        self.told()
        self.others_led_at, self._leads = None, True

    def _note(self, now: datetime, renewed: datetime) -> None:
        known = self.others_led_at
        # Later than now is by a clock that was set back since.
        self.others_led_at = renewed if known is None or known > now else max(known, renewed)

    def _is_behind(self, pulse: Pulse, lead: tuple[int, str], last: datetime) -> bool:
        epoch, owner = self._lead
        if lead[0] < epoch or (lead[0] == epoch and lead[1] != owner):
            return True
        if pulse.at < last:
            # Its clock was set back; leases say nothing then.
            return False
        until = last + self._lease
        if pulse.known_until is not None:
            return pulse.known_until < until
        # Its lease was over, which others may have noticed; a lead that was over as well comes with another epoch.
        return pulse.at < until or (pulse.epoch is not None and lead == self._lead)
