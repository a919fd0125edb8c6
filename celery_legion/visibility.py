"""Visibility: after which time a broker delivers a message again that a dead worker had and has not acknowledged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

NEVER = timedelta(0)
"""What such a transport has delivered it does not deliver again."""

HEARTBEAT = 120.0
"""Celery's ``broker_heartbeat`` in seconds, where it is not set."""

LONGEST = timedelta(days=30)
"""What is longer is taken for never: a job must not wait so long for a message that a dead worker had."""

OPTION = "visibility_timeout"


@dataclass(frozen=True, slots=True)
class Visibility:
    """For how long kombu's transport hides a message, and what was wrong with the setting, if anything."""

    span: timedelta
    problem: str | None = None


HOUR, HALF = timedelta(hours=1), timedelta(minutes=30)

BY_CONNECTION = frozenset({"amqp", "amqps", "pyamqp", "librabbitmq", "qpid", "kafka", "confluentkafka"})
"""Transports that deliver again as soon as the connection is gone, which takes up to two heartbeats to find out."""

TRANSPORTS: Mapping[str, tuple[str | None, timedelta]] = {
    **dict.fromkeys(("redis", "rediss", "sentinel", "valkey", "valkeys"), (OPTION, HOUR)),
    **dict.fromkeys(("sqs", "slmq", "pgmq"), (OPTION, HALF)),
    "gcpubsub": ("ack_deadline_seconds", timedelta(seconds=240)),
    "azureservicebus": ("peek_lock_seconds", timedelta(seconds=60)),
    **dict.fromkeys(("sqla", "sqlalchemy", "filesystem", "memory", "mongodb", "zookeeper"), (None, NEVER)),
    **dict.fromkeys(("consul", "etcd", "pyro", "azurestoragequeues"), (None, NEVER)),
}
"""Each transport's option for it, None if it has none, and what holds without it."""


def visibility_of(app: Any) -> Visibility:
    """Return the visibility time of the broker that *app* reads from; an unknown transport's is as long as Redis's."""
    transport = _transport(app)
    if transport in BY_CONNECTION:
        return Visibility(2 * timedelta(seconds=_seconds(app.conf.broker_heartbeat) or HEARTBEAT))
    option, usual = TRANSPORTS.get(transport, (OPTION, HOUR))
    value = None if option is None else (app.conf.broker_transport_options or {}).get(option)
    if value is None or value == "":
        return Visibility(usual)
    seconds = _seconds(value)
    if seconds is None:
        return Visibility(usual, f"{option} {value!r} is no number of seconds; it is taken for {usual}")
    if seconds > LONGEST.total_seconds():
        problem = f"{option} {value!r} is longer than {LONGEST.days} days; what a dead worker had is taken for lost"
        return Visibility(NEVER, problem)
    # Kombu delivers again at once what it hides for less than no time.
    return Visibility(timedelta(seconds=max(0.0, seconds)))


def unrenewed(app: Any) -> str | None:
    """Return what to set where the broker delivers a message again while a living worker waits with it; else None."""
    if _transport(app) != "azureservicebus" or (app.conf.broker_transport_options or {}).get("use_lock_renewal"):
        return None
    return "set broker_transport_options = {'use_lock_renewal': True}"


def _seconds(value: object) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return math.inf
    except ValueError:
        return None
    return None if math.isnan(seconds) else seconds


def _transport(app: Any) -> str:
    url = app.conf.broker_read_url or app.conf.broker_url or ""
    if not isinstance(url, str):
        url = next(iter(url), "")
    scheme = str(url).partition("://")[0].partition("+")[0].lower()
    return scheme or str(app.conf.broker_transport or "amqp").lower()
