#!/usr/bin/env bash
# With quorum queues a countdown of less than a second, and an eta that is less than a second away, raise a ValueError in
# Celery's apply_async, while 1 and above pass that point, and so do all of them with classic queues.
#
# Celery sends what has a countdown through RabbitMQ's queues of delays, which count whole seconds, and cuts the countdown
# to whole seconds first: 0.5 becomes 0, of which kombu says "countdown must be a positive number". No broker is needed:
# the error comes before anything is sent.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "celery==5.7.0" "kombu==5.7.0"

cat > "$folder/trial.py" <<'PYTHON'
from datetime import datetime, timedelta, timezone
from importlib.metadata import version

from celery import Celery


class Made(Exception):
    """The message was made; there is no broker to take it."""


def outcome(queue_type, **options):
    app = Celery("shop", broker="amqp://localhost//", set_as_current=False)
    app.conf.update(task_default_queue_type=queue_type, task_default_exchange_type="topic")

    def send(*args, **kwargs):
        raise Made

    app.amqp.__dict__["send_task_message"] = send
    task = app.task(name="shop.job")(job)
    try:
        task.apply_async(**options)
    except Made:
        return "made"
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"


def job():
    pass


def soon(seconds):
    return datetime.now(timezone.utc) + timedelta(seconds=seconds)


print("celery", version("celery"), "kombu", version("kombu"))
found = {
    ("quorum", "countdown=0.5"): outcome("quorum", countdown=0.5),
    ("quorum", "countdown=1"): outcome("quorum", countdown=1),
    ("quorum", "eta in 0.9 s"): outcome("quorum", eta=soon(0.9)),
    ("quorum", "eta in 1 s, a moment later"): outcome("quorum", eta=soon(1)),
    ("quorum", "eta in 5 s"): outcome("quorum", eta=soon(5)),
    ("classic", "countdown=0.5"): outcome("classic", countdown=0.5),
    ("classic", "eta in 0.9 s"): outcome("classic", eta=soon(0.9)),
}
for (queue_type, options), what in found.items():
    print(f"{queue_type:8} {options:28} {what}")
error = "ValueError: countdown must be a positive number"
expected = [error, "made", error, error, "made", "made", "made"]
raise SystemExit(0 if list(found.values()) == expected else "the behaviour has changed")
PYTHON

"$folder/venv/bin/python" "$folder/trial.py"
