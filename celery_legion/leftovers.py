"""Leftovers of other schedulers: enabled entries of django-celery-beat or RedBeat that nobody schedules any more.

Looked for once, in a thread of its own, where a scheduler starts: it takes what time it takes, holds nothing up, and
what it cannot read it leaves. Neither package is loaded by it, only asked where the app has it, or where its keys lie.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from celery_legion.context import Context
from celery_legion.control import in_line

logger = logging.getLogger(__name__)

LIMIT = 1000
"""Most entries that are read."""

NAMED = 5
PATIENCE = 2.0
"""Seconds for each answer of RedBeat's server."""

SCHEMES = ("redis", "rediss", "valkey", "valkeys")

CLEANUP = "celery.backend_cleanup"
"""Every scheduler installs this one by itself."""


def watch(context: Context) -> threading.Thread:
    """Look in a thread, and log what is found; returns the thread."""
    thread = threading.Thread(target=_tell, args=(context,), name="legion-leftovers", daemon=True)
    thread.start()
    return thread


def _tell(context: Context) -> None:
    for find in (of_django, of_redbeat):
        try:
            words = find(context.app, context.registry.jobs.keys())
        except Exception as exc:
            logger.debug("entries of other schedulers could not be looked at: %r", exc)
            continue
        if words is not None:
            logger.warning("%s", words)


def of_django(app: Any, jobs: Collection[str]) -> str | None:
    """Return what to say of enabled rows of django-celery-beat that are no jobs; None if there are none.

    Raises:
        Exception: Its tables cannot be read.
    """
    apps = getattr(sys.modules.get("django.apps"), "apps", None)
    if apps is None or not apps.ready or not apps.is_installed("django_celery_beat"):
        return None
    from django.db import connections

    try:
        rows = apps.get_model("django_celery_beat", "PeriodicTask").objects.filter(enabled=True)
        names = sorted(map(str, rows.order_by("name").values_list("name", flat=True)[: LIMIT + len(jobs)]))
    finally:
        # Those of this thread.
        connections.close_all()
    left = _left(names, jobs)
    if not left:
        return None
    rows_left = f"{_counted(left, 'enabled row')} of django-celery-beat {_are(left)} scheduled by nobody here"
    return (
        f"{rows_left} ({_named(left)}): this scheduler reads no database; write them as jobs, then disable the rows. "
        "Should a beat with DatabaseScheduler still run, it sends beat_schedule a second time"
    )


def of_redbeat(app: Any, jobs: Collection[str]) -> str | None:
    """Return what to say of entries of RedBeat that are no jobs, or of a RedBeat that runs; None of neither.

    Raises:
        Exception: Its server cannot be read.
    """
    url = _setting(app, "redbeat_redis_url") or app.conf.broker_write_url
    if not isinstance(url, str) or url.partition("://")[0].lower() not in SCHEMES:
        return None
    prefix = str(_setting(app, "redbeat_key_prefix") or "redbeat:")
    lock = str(_setting(app, "redbeat_lock_key") or f"{prefix}:lock")
    client = _client(url.partition(";")[0], _setting(app, "redbeat_redis_use_ssl") or app.conf.broker_use_ssl)
    try:
        keys = client.zrange(f"{prefix}:schedule", 0, LIMIT + len(jobs))
        runs = bool(keys) and bool(client.exists(lock if lock.startswith(prefix) else prefix + lock))
    finally:
        client.close()
    names = sorted(_text(key).removeprefix(prefix) for key in keys)
    left = _left(names, jobs)
    if runs:
        return (
            f"a RedBeat scheduler runs beside this one and sends its {_counted(names, 'entry', 'entries')}, those of "
            "beat_schedule a second time: stop it, and write what only it has as jobs"
            + (f" ({_named(left)})" if left else "")
        )
    if not left:
        return None
    return (
        f"{_counted(left, 'entry', 'entries')} of RedBeat {_are(left)} scheduled by nobody here ({_named(left)}): this "
        f"scheduler does not read them; write them as jobs, then delete the server's keys {in_line(prefix)}*"
    )


def _left(names: Iterable[str], jobs: Collection[str]) -> list[str]:
    return [name for name in names if name not in jobs and name != CLEANUP]


def _setting(app: Any, name: str) -> Any:
    # As RedBeat reads its own: in lower or in upper case.
    return app.conf.get(name) or app.conf.get(name.upper())


def _client(url: str, ssl: Any) -> Any:
    from redis import Redis

    options = {str(key): value for key, value in ssl.items()} if isinstance(ssl, Mapping) else {}
    # The other server's protocol is the same one.
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower().replace("valkey", "redis")
    if ssl and scheme == "redis":
        scheme = "rediss"
    return Redis.from_url(f"{scheme}://{rest}", socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, **options)


def _text(key: bytes | str) -> str:
    return key.decode(errors="replace") if isinstance(key, bytes) else key


def _counted(found: Collection[str], one: str, many: str = "") -> str:
    return f"{len(found)} {one if len(found) == 1 else many or one + 's'}"


def _are(found: Collection[str]) -> str:
    return "is" if len(found) == 1 else "are"


def _named(names: list[str]) -> str:
    shown = ", ".join(map(in_line, names[:NAMED]))
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"
