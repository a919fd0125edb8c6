#!/usr/bin/env bash
# Celery's beat writes its own mark into the headers dict that stands in the app's beat_schedule, so that whatever else
# in the process uses the same dict sends messages that look like beat's, too.
#
# A schedule entry may have options={"headers": HEADERS}. Before it sends, celery.beat.Scheduler.apply_async copies the
# entry's options one level deep and sets options["headers"]["celery_beat_task"] = True: the inner dict is the app's own.
# One send later, a message that the app sends by hand with headers=HEADERS carries celery_beat_task, and so does
# app.conf.beat_schedule. Who tells beat's messages by that header takes these for beat's.
#
# Exits 0 while that is so, 1 when beat leaves the dict alone, 2 when it cannot be tried.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv || exit 2
venv/bin/python -m pip install --quiet --disable-pip-version-check 'celery==5.7.0' 'kombu==5.7.0' || exit 2
cat > try.py <<'PY'
import sys

import celery
import kombu
from celery import Celery
from celery.beat import Scheduler

HEADERS = {"team": "billing"}
app = Celery("shop", broker="memory://")
app.conf.beat_schedule = {"tick": {"task": "shop.tick", "schedule": 60, "options": {"headers": HEADERS}}}


def headers_of_next_message():
    with app.connection_for_read() as connection:
        message = connection.default_channel.basic_get("celery", no_ack=True)
        return {key: message.headers.get(key) for key in ("team", "celery_beat_task")}


print("python", sys.version.split()[0], "celery", celery.__version__, "kombu", kombu.__version__)
with app.connection_for_write() as connection:
    app.amqp.queues["celery"](connection.default_channel).declare()
print("the app's headers before beat has sent:", HEADERS)
app.send_task("shop.tick", headers=HEADERS)
print("sent by hand before:", headers_of_next_message())
scheduler = Scheduler(app)
scheduler.apply_async(scheduler.schedule["tick"])
print("sent by beat:       ", headers_of_next_message())
app.send_task("shop.other", headers=HEADERS)
after = headers_of_next_message()
print("sent by hand after: ", after)
print("the app's headers now:", HEADERS)
sys.exit(0 if after["celery_beat_task"] and HEADERS.get("celery_beat_task") else 1)
PY
timeout 60 venv/bin/python try.py
