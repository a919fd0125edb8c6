#!/usr/bin/env bash
# A message that expires while it waits for a slot of the pool is discarded by a worker with an event loop (Redis,
# RabbitMQ). On a transport without one (filesystem, SQLAlchemy and others) Celery looks at "expires" before it waits
# for the slot, so the task is executed long after its expiry.
# Exits 0 while it is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check celery==5.7.0 kombu==5.7.0 billiard==4.3.2 2>/dev/null

cat > shop.py <<'PY'
import os
import time

from celery import Celery

app = Celery("shop", broker="filesystem://")
folders = ("data_folder_in", "data_folder_out", "control_folder")
app.conf.broker_transport_options = dict.fromkeys(folders, os.environ["QUEUE"])


@app.task
def work(name, sent, seconds):
    with open(os.environ["SAID"], "a") as file:
        print(f"{name} started {time.time() - sent:.0f} s after it was sent", file=file)
    time.sleep(seconds)
PY
mkdir queue
export QUEUE=$folder/queue SAID=$folder/said
venv/bin/python --version
venv/bin/pip list --disable-pip-version-check 2>/dev/null | grep -E '^(celery|kombu|billiard) '

venv/bin/celery -A shop worker -c 1 --loglevel INFO --without-gossip --without-mingle > log 2>&1 &
worker=$!
for _ in $(seq 300); do grep -q 'ready\.' log && break; sleep 0.2; done
venv/bin/python - <<'PY'
import os
import time

import shop

shop.work.delay("first", time.time(), 12)
while not os.path.exists(os.environ["SAID"]):
    time.sleep(0.1)
shop.work.apply_async(("second, which expires after 5 s,", time.time(), 0), expires=5)
PY
for _ in $(seq 150); do grep -q second said && break; sleep 0.2; done
kill -TERM $worker
wait $worker || true
cat said
grep -E 'received|Discarding|revoked|succeeded' log | cut -c1-110
grep -qE '^second, which expires after 5 s, started (8|9|1[0-9]|2[0-9]) s after it was sent$' said
