"""Why messages are not sent in batches where the installed kombu could."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RETRIES = ("retry_on_timeout", "retry_on_error", "retry")
"""Options of the Redis transport with which kombu sends no batches, since one might be sent again in part."""


def unbatched(connection: Any, given: Mapping[str, Any] | None) -> str:
    """Return what keeps batches from *connection*, whose transport is a Redis one, and what to do about it.

    *given* are the transport options that the app sets. An option that is not set is not blamed: then it is the
    transport, another than kombu's own.
    """
    found = [name for name in RETRIES if (given or {}).get(name)]
    if found:
        options = " and ".join(found)
        why = f"broker_transport_options set {options}: a scheduler is faster without"
        return f"messages are sent one by one, since {why}"
    kind = type(connection.transport)
    transport = f"{kind.__module__}.{kind.__qualname__}"
    return f"messages are sent one by one, since the broker's transport, {transport}, takes no batches; it is slower"
