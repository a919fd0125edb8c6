"""Celery's global books of the requests that a worker holds, read and mended safely from any thread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

from celery.worker import state

_kept: Any = getattr(state, "scheduled_requests", None)
scheduled_requests: Any = WeakSet() if _kept is None else _kept
"""Requests that wait for their time. Celery keeps this book since 5.7; for earlier versions it is ours."""


def schedule(request: Any) -> None:
    """Note that *request* waits for its time, so that it is found by its id."""
    if _kept is not None:
        state.task_scheduled(request)
    else:
        state.requests[request.id] = request
        scheduled_requests.add(request)


def reserve(request: Any) -> None:
    """Note that *request* waits for a slot of the pool."""
    state.task_reserved(request)
    scheduled_requests.discard(request)


def snapshot(requests: Any) -> list[Any]:
    """Return what a weak set of requests holds, although other threads change it meanwhile."""
    while True:
        try:
            return list(requests)
        except RuntimeError:
            # Its size changed while it was read.
            continue


def limited_requests(consumer: Any) -> list[Any]:
    """Return the requests that wait for their tasks' rate limits."""
    buckets = list((getattr(consumer, "task_buckets", None) or {}).values())
    return [request for bucket in buckets if bucket for request, _ in snapshot(bucket.contents)]


def others(request: Any) -> Iterator[Any]:
    """Yield the other live requests with this one's id: running ones first, then reserved, then scheduled."""
    for book in (state.active_requests, state.reserved_requests, scheduled_requests):
        for other in snapshot(book):
            if other.id == request.id and other is not request:
                yield other


def running_other(request: Any) -> Any:
    """Return the running request with this one's id, None if there is no other."""
    return next((other for other in others(request) if other in state.active_requests), None)


def put_back(request: Any) -> None:
    """Let Celery find the other live request of this one's id again, if there is one.

    Its book is keyed by id: a second message of a run takes the first one's place in it, and
    then ``revoke(terminate=True)`` misses what is running.
    """
    other = next(others(request), None)
    if other is not None:
        state.requests[request.id] = other
