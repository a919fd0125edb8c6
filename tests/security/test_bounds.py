"""What others choose (a prefix, a name, a length, a serializer) stays within bounds."""

from __future__ import annotations

import json
import logging
import resource
from datetime import timedelta
from typing import Any

import pytest
import redis
from celery import Celery

from celery_legion import Legion
from celery_legion.beat import Scheduler
from celery_legion.command import TASK
from celery_legion.config import Config
from celery_legion.embedded import EmbeddedValkey
from celery_legion.errors import CommandRefusedError, ConfigurationError
from celery_legion.hook import TASK as HOOKS
from celery_legion.run import Kind
from celery_legion.stores import open_store
from celery_legion.stores.base import SchedulerInfo, StoreOptions
from celery_legion.stores.data import BODY_KEPT
from celery_legion.worker.commands import Commands

MEBIBYTE = 1024 * 1024
UNSAFE = [
    "*",
    "a*",
    "?",
    "a[b]",
    "{a}",
    "a}b",
    "a b",
    "a\nb",
    "a\r",
    "a\tb",
    "\\",
    "^a",
    "a\x00b",
    "a\x1bb",
    "a\u202eb",
    "",
]


@pytest.mark.parametrize("prefix", [*UNSAFE, None, 5, b"a"])
def test_a_prefix_that_means_more_than_its_text_is_refused(prefix: Any) -> None:
    app = Celery("shop", broker="redis://h/0", set_as_current=False)
    app.conf.legion_key_prefix = prefix
    if prefix is None:
        assert Config.of(app).key_prefix == "legion:shop"
        return
    with pytest.raises(ConfigurationError, match="legion_key_prefix") as caught:
        Config.of(app)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["shop*", "sh?p", "my shop", "{shop}", "shop[1]", "shop\n"])
def test_neither_does_the_one_that_is_made_of_an_app_s_name(name: str) -> None:
    prefix = Config.of(Celery(name, broker="redis://h/0", set_as_current=False)).key_prefix

    assert not set(prefix) & set("*?[]{}\\^ \n")
    app = Celery("shop", broker="redis://h/0", set_as_current=False)
    app.conf.legion_key_prefix = prefix
    assert Config.of(app).key_prefix == prefix


def test_a_push_of_a_hundred_mebibytes_is_put_aside_and_never_fetched() -> None:
    with EmbeddedValkey() as server, redis.Redis.from_url(server.url()) as client:
        store = open_store(StoreOptions(url=server.url(), prefix="bounds"))
        client.config_set("appendonly", "no")
        client.set("{bounds}:big", '{"job": "a", "args": ["')
        client.setrange("{bounds}:big", 100 * MEBIBYTE, '"]}')
        move = "return redis.call('LPUSH', KEYS[1], redis.call('GETDEL', KEYS[2]))"
        client.eval(move, 2, "{bounds}:inbox", "{bounds}:big")
        client.lpush("{bounds}:inbox", json.dumps({"job": "a", "id": "next"}))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        info = SchedulerInfo(app="a", fingerprint="", host="h", pid=1)
        # One of that length is all that one reading takes on.
        first, second = (store.pulse("scheduler", timedelta(seconds=60), 0, 10, info).requests for _ in range(2))
        [aside] = store.asides(10)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        assert [request.id for request in (*first, *second)] == ["next"]
        assert "too long" in aside.why
        assert len(aside.request.body) <= BODY_KEPT
        assert client.llen("{bounds}:inbox") == 1
        assert client.memory_usage("{bounds}:aside") < MEBIBYTE
        assert grown < 50 * MEBIBYTE
        store.close()


def test_messages_cannot_have_loggers_made_without_end() -> None:
    """A logger stays for as long as its process."""
    app = Celery("bounds", broker="redis://h/0", set_as_current=False)
    legion = Legion(app)
    commands = Commands(legion.context)
    known = len(logging.Logger.manager.loggerDict)
    for number in range(100):
        with pytest.raises(CommandRefusedError):
            commands.execute(object(), [f"made-up-{number}.a.b"], {}, None)

    assert len(logging.Logger.manager.loggerDict) <= known + 1


def nothing() -> None:
    pass


@pytest.mark.parametrize("annotated", [False, True])
@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml"])
def test_what_is_sent_for_commands_and_hooks_is_json(redis_url: str, serializer: str, annotated: bool) -> None:
    app = Celery("bounds", broker=redis_url, set_as_current=False)
    app.conf.task_serializer = serializer
    app.conf.task_default_queue = f"bounds-{serializer}-{annotated}"
    if annotated:
        app.conf.task_annotations = {"*": {"serializer": serializer}}
    app.task(name="own")(nothing)
    legion = Legion(app)
    legion.command("true").every_minute().name("command").on_skipped(nothing)
    legion.task("own").every_minute().name("task")
    beat = Scheduler(app, lazy=True)
    jobs = legion.context.registry.jobs
    if not annotated:
        assert app.tasks[TASK].serializer == app.tasks[HOOKS].serializer == "json"
    # The second time the lock is held: skipped, for which a hook is owed.
    for _ in range(2):
        beat.one_shot.run_now(jobs.values(), Kind.MANUAL)
    beat.one_shot.run_due()
    with redis.Redis.from_url(redis_url) as client:
        lies = [json.loads(text) for text in client.lrange(app.conf.task_default_queue, 0, -1)]
        client.delete(app.conf.task_default_queue)
    sent = {message["headers"]["task"]: message["content-type"] for message in lies}
    # Where PyYAML is not installed, nothing but ours can be sent.
    own = sent.pop("own", "yaml" if serializer == "yaml" else None)
    assert sent == dict.fromkeys((TASK, HOOKS), "application/json")
    assert own.endswith({"json": "json", "pickle": "python-serialize", "yaml": "yaml"}[serializer])
    legion.context.store.close()
