"""What a scheduler has seen of its store: enough to notice that the store has lost what it knew."""

from __future__ import annotations

from datetime import datetime, timedelta

from celery_legion.stores.base import Pulse


class Witness:
    """Compares each pulse's answer with those before it: a store only ever moves forward, unless it has lost something.

    ``lost`` says that it has, until the loss is seen to. ``others_led_at`` is when another scheduler was last seen
    leading, by the passes' clock; None while this one leads, and then nobody knows better where jobs stand.
    """

    def __init__(self, lease: timedelta) -> None:
        self.lost = False
        self.others_led_at: datetime | None = None
        self._lease = lease
        self._at: datetime | None = None
        self._lead = (0, "")

    def see(self, pulse: Pulse, now: datetime) -> None:
        """Take in the next answer. What an earlier leader did is another's memory until this one leads."""
        lead = (pulse.lead.epoch, pulse.lead.owner)
        if self._at is not None and self._is_behind(pulse, lead, self._at):
            self.lost = True
        elif pulse.epoch is None:
            self.others_led_at = now
        self._at, self._lead = pulse.at, lead

    def see_to(self, pulse: Pulse, now: datetime) -> None:
        """Note that the loss is seen to, and who leads from now on."""
        self.lost = False
        self.others_led_at = None if pulse.epoch is not None else now

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
