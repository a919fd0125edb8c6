"""What a scheduler has seen of its store: enough to notice that the store has lost what it knew."""

from __future__ import annotations

from datetime import datetime, timedelta

from celery_legion.clock import MILLISECOND
from celery_legion.stores.base import Pulse

SETTLED = timedelta(seconds=1.5)
"""How long another must lead on after a loss before that is taken for seen to: it has told, or was told."""


class Witness:
    """Compares each pulse's answer with those before it: a store only ever moves forward, unless it has lost something.

    ``lost`` says that it has, until the loss is seen to. ``led`` then says that this scheduler was the last leader that
    it knows of, and ``sure`` that nobody else can have led since. ``others_led_at`` is the last moment, by the passes'
    clock, at which another leader is known to have renewed its lead: fires up to there were its to claim. None if there
    was none.
    """

    def __init__(self, lease: timedelta) -> None:
        self.lost = self.led = self.sure = False
        self.others_led_at: datetime | None = None
        # As whole as the store keeps it.
        self._lease = lease // MILLISECOND * MILLISECOND
        self._at: datetime | None = None
        self._lead = (0, "")
        self._leads = False
        self._lost_at: datetime | None = None

    def see(self, pulse: Pulse, now: datetime) -> None:
        """Take in the next answer."""
        lead = (pulse.lead.epoch, pulse.lead.owner)
        behind = self._at is not None and self._is_behind(pulse, lead, self._at)
        if pulse.epoch is None:
            renewed = now - max(timedelta(0), self._lease - pulse.lead.expires_in)
            self.others_led_at = renewed if self.others_led_at is None else max(renewed, self.others_led_at)
        if behind:
            # After its lease another may have led.
            within = self._at is not None and pulse.at < self._at + self._lease
            led, sure = self._leads or self.led, (self._leads and within) or self.sure
            self.lost, self.led, self.sure, self._lost_at = True, led, sure, now
        elif self.lost and not self.led and self._is_settled():
            self.lost = False
        self._at, self._lead, self._leads = pulse.at, lead, pulse.epoch is not None

    def see_to(self) -> None:
        """Note that the loss is seen to."""
        self.lost = self.led = self.sure = False

    def _is_settled(self) -> bool:
        led_at, lost_at = self.others_led_at, self._lost_at
        return led_at is not None and lost_at is not None and led_at > lost_at + SETTLED

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
