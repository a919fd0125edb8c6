"""What a proxy does to connections and bytes."""

from __future__ import annotations

from enum import Enum


class Mode(Enum):
    """``PASS`` forwards.

    ``BLACKHOLE`` takes new connections and swallows bytes both ways; ``DROP`` does not even answer new ones, as a
    firewall that drops. ``ONE_WAY_TO_SERVER`` passes requests and swallows answers, ``ONE_WAY_TO_CLIENT`` the other
    way round. ``REFUSE`` resets new and old connections. Where bytes are swallowed, the end of a connection is, too:
    nobody is told.
    """

    PASS = "pass"
    BLACKHOLE = "blackhole"
    DROP = "drop"
    ONE_WAY_TO_SERVER = "one way to the server"
    ONE_WAY_TO_CLIENT = "one way to the client"
    REFUSE = "refuse"

    @property
    def swallows_requests(self) -> bool:
        return self in (Mode.BLACKHOLE, Mode.DROP, Mode.ONE_WAY_TO_CLIENT)

    @property
    def swallows_answers(self) -> bool:
        return self in (Mode.BLACKHOLE, Mode.DROP, Mode.ONE_WAY_TO_SERVER)
