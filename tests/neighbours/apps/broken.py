"""An app with one sound job and one that breaks while it is sent, in the way that the environment names."""

import socket
import time
from typing import Any

import redis
from celery import Task, signals
from celery.beat import BeatLazyFunc
from celery_once import QueueOnce
from celery_singleton import Singleton
from kombu.exceptions import OperationalError

from tests.neighbours.apps import base

KIND = base.env["NEIGHBOUR_KIND"]

with socket.create_server(("127.0.0.1", 0)) as probe:
    AWAY = probe.getsockname()[1]

ROUTES = {"good": {"queue": KIND}, "celery_legion.command": {"queue": KIND}}


def strict_router(name: str, *_: Any, **__: Any) -> dict[str, str]:
    return ROUTES[name]


app, legion = base.make(
    task_default_queue=KIND,
    task_routes=(strict_router,) if KIND == "router-key-error" else None,
    singleton_backend_url=base.env["NEIGHBOUR_REDIS"],
    ONCE={
        "backend": f"tests.neighbours.apps.{'once_locks.Quick' if KIND == 'once-server-away' else 'once_locks.Redis'}",
        "settings": {"url": f"redis://127.0.0.1:{AWAY}/0", "default_timeout": 60},
    },
)


ERRORS = {
    "wrapper-redis-connection-error": redis.ConnectionError("the wrapper's own server is away"),
    "wrapper-operational-error": OperationalError("the wrapper says so"),
    "wrapper-os-error": ConnectionResetError("the wrapper's own line"),
}


class Raising(Task):
    """A wrapper of somebody's that raises before it sends."""

    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        raise ERRORS[KIND]


class Silent(Task):
    """A wrapper of somebody's that sends nothing and says nothing."""

    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        return None


BASES = {
    "once-server-away": QueueOnce,
    "once-server-away-retrying": QueueOnce,
    "singleton": Singleton,
    "wrapper-sends-nothing": Silent,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "unknown-serializer": {"serializer": "nonesuch"},
    "unroutable": {"exchange": "amq.direct", "routing_key": "nobody"},
}


@app.task(name="good")
def good() -> None:
    base.seen("good")


@app.task(name="bad", base=BASES.get(KIND, Raising if KIND in ERRORS else Task))
def bad(*args: Any) -> None:
    base.seen("bad")
    if KIND == "singleton":
        time.sleep(4)


def refuse() -> str:
    raise KeyError("the argument's own")


if KIND == "receiver-raises":

    @signals.before_task_publish.connect
    def refuse_bad(sender: Any = None, **_: Any) -> None:
        if sender == "bad":
            raise KeyError("the receiver's own")


app.conf.beat_schedule = {
    "bad": {
        "task": "bad",
        "schedule": 3.0,
        "args": (BeatLazyFunc(refuse),) if KIND == "lazy-argument-raises" else (),
        "options": OPTIONS.get(KIND, {}),
    },
    "good": {"task": "good", "schedule": 2.0},
}
if KIND == "singleton":
    del app.conf.beat_schedule["bad"]
    legion.task(bad).every("3s").name("bad").allow_overlapping()
