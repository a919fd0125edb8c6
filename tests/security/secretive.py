"""An app full of secrets: in its URLs, in a command's environment, in a ping's URL."""

from __future__ import annotations

import os

from celery import Celery

from celery_legion import Legion

env = os.environ
app = Celery("secretive", broker=env["LEGION_TEST_BROKER"])
app.conf.update(
    legion_store_url=env["LEGION_TEST_STORE"],
    legion_leader_lease=5.0,
    legion_run_lease=5.0,
    legion_store_timeout=1.0,
    legion_broker_timeout=2.0,
    broker_transport_options={"sentinel_kwargs": {"password": env["SECRET_SENTINEL"]}},
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
)
legion = Legion(app)

command = legion.command('echo "the token is $TOKEN"; sleep 2; exit 3').name("telling").every("3s").allow_overlapping()
command.env(TOKEN=env["SECRET_TOKEN"], UNNAMED=env["SECRET_UNNAMED"]).secret("TOKEN")
command.ping_on_failure(f"http://127.0.0.1:1/{env['SECRET_PING']}?key={env['SECRET_PING']}")
